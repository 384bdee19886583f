"""Adds up timed events. All sums of one summary can be added to those of another, as each event is in one run only."""

from datetime import timedelta

WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]

# Two meetings with at most this pause between them are back to back.
BREATHER = timedelta(minutes=5)


def summarise(read):
    """The record to write, without its timestamp. Times of day are those of the calendar entries' own zones."""
    busy = union(read.timed)
    meetings = [e for e in read.timed if e.is_meeting]
    grid = minutes_by_weekday_and_hour(busy)
    by_hour = [sum(day[h] for day in grid) for h in range(24)]
    by_weekday = [sum(day) for day in grid]
    weeks = per_week(busy, union(meetings))
    return {
        "source": "busy-hours",
        "summary": {
            "totalCount": len(read.timed) + read.all_day,
            "timed": len(read.timed),
            "allDay": read.all_day,
            "meetings": len(meetings),
            "skipped": read.skipped,
            "unreadable": read.unreadable,
            "busyMinutes": minutes(busy),
            "meetingMinutes": minutes(union(meetings)),
            "since": busy[0][0].isoformat() if busy else None,
            "until": busy[-1][1].isoformat() if busy else None,
        },
        "busiest": busiest(by_hour, by_weekday),
        "minutesByHour": by_hour,
        "minutesByWeekday": dict(zip(WEEKDAYS, by_weekday)),
        "minutesByWeekdayAndHour": dict(zip(WEEKDAYS, grid)),
        "backToBack": back_to_back(meetings),
        "weeks": weeks,
        "meetingTrend": trend([w["meetingMinutes"] for w in weeks]),
    }


def union(events):
    """Busy stretches (start, end), sorted and apart, so that double-booked time counts once."""
    stretches = []
    for event in events:
        if stretches and event.start <= stretches[-1][1]:
            start, end = stretches[-1]
            stretches[-1] = (start, max(end, event.end))
        else:
            stretches.append((event.start, event.end))
    return stretches


def minutes(stretches):
    return round(sum((end - start).total_seconds() for start, end in stretches) / 60)


def by_clock_hour(stretch):
    """Cut a stretch at each full hour of its own clock: (moment, seconds) for each piece."""
    start, end = stretch
    at = start
    left = (end - start).total_seconds()
    while left > 0:
        to_full_hour = 3600 - (at.minute * 60 + at.second + at.microsecond / 1e6)
        piece = min(left, to_full_hour)
        yield at, piece
        at += timedelta(seconds=piece)
        left -= piece


def minutes_by_weekday_and_hour(stretches):
    seconds = [[0.0] * 24 for _ in WEEKDAYS]
    for stretch in stretches:
        for at, piece in by_clock_hour(stretch):
            seconds[at.weekday()][at.hour] += piece
    return [[round(s / 60) for s in day] for day in seconds]


def busiest(by_hour, by_weekday):
    """The first of the fullest hours and weekdays; None where nothing was timed."""
    if not any(by_hour):
        return {"hour": None, "weekday": None}
    return {
        "hour": by_hour.index(max(by_hour)),
        "weekday": WEEKDAYS[by_weekday.index(max(by_weekday))],
    }


def back_to_back(meetings):
    """How often a meeting followed another within a breather, the longest such row, and double bookings."""
    pairs = overlaps = 0
    row = longest = min(len(meetings), 1)
    end = None
    for meeting in meetings:
        if end is not None:
            if meeting.start < end:
                overlaps += 1
            elif meeting.start - end <= BREATHER:
                pairs += 1
                row += 1
                longest = max(longest, row)
            else:
                row = 1
        end = meeting.end if end is None else max(end, meeting.end)
    return {"pairs": pairs, "longestRow": longest, "overlaps": overlaps}


def per_week(busy, meetings):
    """Minutes of each ISO week from the first to the last busy one, weeks without events included."""
    totals = {}
    for name, stretches in (("busyMinutes", busy), ("meetingMinutes", meetings)):
        for stretch in stretches:
            for at, piece in by_clock_hour(stretch):
                monday = at.date() - timedelta(days=at.weekday())
                totals.setdefault(monday, {"busyMinutes": 0.0, "meetingMinutes": 0.0})[name] += piece / 60
    if not totals:
        return []
    first, last = min(totals), max(totals)
    if (last - first).days > 7 * 520:  # a stray event in the year 1 must not make a list of a million weeks
        mondays = sorted(totals)
    else:
        mondays = [first + timedelta(weeks=i) for i in range((last - first).days // 7 + 1)]
    return [
        {
            "week": "%d-W%02d" % monday.isocalendar()[:2],
            "busyMinutes": round(totals.get(monday, {}).get("busyMinutes", 0)),
            "meetingMinutes": round(totals.get(monday, {}).get("meetingMinutes", 0)),
        }
        for monday in mondays
    ]


def trend(values):
    """Least-squares slope in minutes per week. The first and last week may be cut off by the data, so they are left
    out; below three whole weeks there is no trend (None)."""
    values = values[1:-1]
    n = len(values)
    if n < 3:
        return {"minutesPerWeek": None, "weeks": max(n, 0)}
    mean_x, mean_y = (n - 1) / 2, sum(values) / n
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in enumerate(values))
    variance = sum((x - mean_x) ** 2 for x in range(n))
    return {"minutesPerWeek": round(covariance / variance, 1), "weeks": n}
