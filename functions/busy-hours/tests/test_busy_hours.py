import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import handler  # noqa: E402


def timed(start, end, guests=1, **more):
    people = [{"self": True, "response": "accepted"}] + [{"response": "accepted"}] * guests
    return {"start": {"dateTime": start}, "end": {"dateTime": end}, "attendees": people, **more}


def run(*entries):
    records = [{"endpoint": "calendar/google/events", "recordId": str(i), "data": d} for i, d in enumerate(entries)]
    event = {"functionConfiguration": {}, "request": {"data": {"events": records}, "linkRecords": True}}
    responses = handler.process(event, None)
    json.dumps(responses, allow_nan=False)
    return responses


def summary(*entries):
    (response,) = run(*entries)
    assert (response["namespace"], response["endpoint"]) == ("drops", "insights/busy-hours")
    (record,) = response["data"]
    return record


class Hours(unittest.TestCase):
    def test_an_event_is_spread_over_the_hours_it_touches(self):
        s = summary(timed("2024-03-05T09:40:00+10:00", "2024-03-05T11:10:00+10:00"))
        self.assertEqual(s["minutesByHour"][9:12], [20, 60, 10])
        self.assertEqual(s["minutesByWeekday"]["Tuesday"], 90)
        self.assertEqual(s["busiest"], {"hour": 10, "weekday": "Tuesday"})

    def test_the_clock_is_the_one_of_the_calendar_entry(self):
        s = summary(
            timed("2024-03-05T23:30:00-08:00", "2024-03-06T00:30:00-08:00"),
            timed("2024-03-08T10:00:00Z", "2024-03-08T10:15:00Z"),
        )
        self.assertEqual((s["minutesByHour"][23], s["minutesByHour"][0], s["minutesByHour"][10]), (30, 30, 15))
        self.assertEqual(s["minutesByWeekday"]["Wednesday"], 30)

    def test_a_time_without_offset_is_read_with_the_zone_beside_it(self):
        entry = timed("2024-03-05T09:00:00", "2024-03-05T10:00:00")
        entry["start"]["timeZone"] = entry["end"]["timeZone"] = "Nowhere/Atall"
        self.assertEqual(summary(entry)["minutesByHour"][9], 60)

    def test_double_booked_time_counts_once(self):
        s = summary(
            timed("2024-03-05T09:00:00Z", "2024-03-05T10:00:00Z"),
            timed("2024-03-05T09:30:00Z", "2024-03-05T10:30:00Z"),
        )
        self.assertEqual(s["summary"]["busyMinutes"], 90)
        self.assertEqual(s["backToBack"], {"pairs": 0, "longestRow": 1, "overlaps": 1})

    def test_sums_agree_with_each_other(self):
        s = summary(*(timed(f"2024-03-{d:02}T{h:02}:13:00Z", f"2024-03-{d:02}T{h + 1:02}:41:00Z")
                      for d in range(1, 29) for h in (8, 11, 15)))
        total = s["summary"]["busyMinutes"]
        self.assertEqual(total, 28 * 3 * 88)
        self.assertEqual(sum(s["minutesByHour"]), total)
        self.assertEqual(sum(s["minutesByWeekday"].values()), total)
        self.assertEqual(sum(w["busyMinutes"] for w in s["weeks"]), total)

    def test_an_hour_that_does_not_exist_locally_is_not_counted(self):
        entry = timed("2024-03-31T01:30:00", "2024-03-31T03:30:00")
        entry["start"]["timeZone"] = entry["end"]["timeZone"] = "Europe/Berlin"
        self.assertEqual(summary(entry)["summary"]["busyMinutes"], 60)


class Meetings(unittest.TestCase):
    def test_back_to_back(self):
        s = summary(
            timed("2024-03-05T09:00:00Z", "2024-03-05T10:00:00Z"),
            timed("2024-03-05T10:00:00Z", "2024-03-05T10:30:00Z"),
            timed("2024-03-05T10:35:00Z", "2024-03-05T11:00:00Z"),
            timed("2024-03-05T11:06:00Z", "2024-03-05T11:30:00Z"),
        )
        self.assertEqual(s["backToBack"], {"pairs": 2, "longestRow": 3, "overlaps": 0})

    def test_time_alone_is_busy_but_no_meeting(self):
        s = summary(timed("2024-03-05T09:00:00Z", "2024-03-05T10:00:00Z", guests=0))
        self.assertEqual((s["summary"]["busyMinutes"], s["summary"]["meetingMinutes"]), (60, 0))

    def test_trend_is_the_slope_over_whole_weeks(self):
        weeks = []
        for i, length in enumerate((10, 30, 40, 50, 60, 5)):
            day = f"2024-{1 + (3 + 7 * i) // 31:02}-{(3 + 7 * i) % 31 + 1:02}"  # Thursdays from 4 January
            weeks.append(timed(f"{day}T09:00:00Z", f"{day}T09:{length:02}:00Z" if length < 60 else f"{day}T10:00:00Z"))
        s = summary(*weeks)
        self.assertEqual([w["meetingMinutes"] for w in s["weeks"]], [10, 30, 40, 50, 60, 5])
        self.assertEqual(s["meetingTrend"], {"minutesPerWeek": 10.0, "weeks": 4})

    def test_two_weeks_are_no_trend(self):
        s = summary(timed("2024-03-05T09:00:00Z", "2024-03-05T10:00:00Z"))
        self.assertIsNone(s["meetingTrend"]["minutesPerWeek"])


class OddData(unittest.TestCase):
    def test_nothing_new_writes_nothing(self):
        self.assertEqual(run(), [])
        self.assertEqual(handler.process({"request": {"data": {}}}, None), [])

    def test_whole_days_block_no_hours(self):
        s = summary(
            {"start": {"date": "2024-03-05"}, "end": {"date": "2024-03-07"}},
            timed("2024-03-05T09:00:00Z", "2024-03-09T09:00:00Z"),
        )
        self.assertEqual((s["summary"]["allDay"], s["summary"]["busyMinutes"]), (2, 0))
        self.assertEqual(s["busiest"], {"hour": None, "weekday": None})

    def test_cancelled_declined_and_free_events_are_skipped(self):
        declined = timed("2024-03-05T09:00:00Z", "2024-03-05T10:00:00Z")
        declined["attendees"][0]["response"] = "declined"
        s = summary(
            timed("2024-03-05T09:00:00Z", "2024-03-05T10:00:00Z", status="cancelled"),
            timed("2024-03-05T09:00:00Z", "2024-03-05T10:00:00Z", transparency="transparent"),
            declined,
            timed("2024-03-05T14:00:00Z", "2024-03-05T15:00:00Z"),
        )
        self.assertEqual((s["summary"]["skipped"], s["summary"]["timed"]), (3, 1))

    def test_the_newest_version_of_an_event_counts(self):
        s = summary(
            timed("2024-03-05T09:00:00Z", "2024-03-05T10:00:00Z", id="e"),
            timed("2024-03-05T11:00:00Z", "2024-03-05T11:30:00Z", id="e"),
        )
        self.assertEqual((s["minutesByHour"][9], s["minutesByHour"][11]), (0, 30))

    def test_unreadable_entries_are_counted_and_fail_nothing(self):
        good = timed("2024-03-05T14:00:00Z", "2024-03-05T15:00:00Z")
        bad = [
            None, 7, "text", [], {}, {"start": None, "end": None}, {"start": {}, "end": {}},
            {"start": {"date": "soon"}, "end": {"date": "later"}},
            timed("yesterday", "2024-03-05T15:00:00Z"), timed(5, 6),
            timed("2024-03-05T15:00:00Z", "2024-03-05T14:00:00Z"),
            timed("0001-01-01T00:00:00+14:00", "0001-01-01T01:00:00+14:00"),
        ]
        s = summary(good, *bad, {**good, "attendees": ["x", None, {"self": "yes"}]})
        self.assertEqual((s["summary"]["unreadable"], s["summary"]["timed"]), (len(bad), 2))

    def test_a_stray_event_long_ago_makes_no_endless_list(self):
        s = summary(
            timed("0002-01-01T00:00:00Z", "0002-01-01T01:00:00Z"),
            timed("2024-03-05T14:00:00Z", "2024-03-05T15:00:00Z"),
            timed("9999-12-31T23:00:00Z", "9999-12-31T23:59:00Z"),
        )
        self.assertEqual(len(s["weeks"]), 3)


class Entries(unittest.TestCase):
    def test_configuration_and_bundle(self):
        c = handler.configuration("", None)
        self.assertEqual(c["id"], "busy-hours")
        self.assertEqual(c["trigger"], {"triggerType": "periodic", "period": "P1D"})
        self.assertEqual(c["dataBundle"], handler.bundle({"fromDate": None, "untilDate": None}, None))
        json.dumps(c)

    def test_times_on_the_wire_have_milliseconds(self):
        s = summary(timed("2024-03-05T14:00:00Z", "2024-03-05T15:00:00Z"))
        self.assertRegex(s["timestamp"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")


if __name__ == "__main__":
    unittest.main()
