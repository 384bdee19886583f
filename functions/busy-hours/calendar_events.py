"""Reads calendar events as Google's API shapes them: start and end hold either dateTime (an instant with an offset,
or with timeZone beside it) or date (a whole day, the end exclusive)."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

# An event that takes a day or longer blocks dates, not hours: nobody is in a meeting for a week.
WHOLE_DAY = timedelta(hours=24)


@dataclass(frozen=True)
class Event:
    """A timed event; start and end are aware and in the zone of the calendar entry."""

    start: datetime
    end: datetime
    is_meeting: bool  # somebody else was invited


@dataclass
class Read:
    timed: list = field(default_factory=list)  # Events, sorted by start
    all_day: int = 0
    skipped: int = 0  # cancelled, declined or marked as free
    unreadable: int = 0


def read(entries):
    """Sort calendar entries into a Read. Of entries with one id, the last one counts: it is the newest version."""
    result = Read()
    for entry in latest(entries):
        if not isinstance(entry, dict):
            result.unreadable += 1
        elif not takes_time(entry):
            result.skipped += 1
        else:
            try:
                event = timed_event(entry)
            except (ValueError, OverflowError):
                result.unreadable += 1
                continue
            if event is None:
                result.all_day += 1
            else:
                result.timed.append(event)
    result.timed.sort(key=lambda e: (e.start, e.end))
    return result


def latest(entries):
    by_id, without_id = {}, []
    for entry in entries:
        key = entry.get("id") if isinstance(entry, dict) else None
        if isinstance(key, str):
            by_id[key] = entry
        else:
            without_id.append(entry)
    return [*by_id.values(), *without_id]


def takes_time(entry):
    if entry.get("status") == "cancelled" or entry.get("transparency") == "transparent":
        return False
    return not any(a.get("self") is True and a.get("response") == "declined" for a in attendees(entry))


def attendees(entry):
    found = entry.get("attendees")
    return [a for a in found if isinstance(a, dict)] if isinstance(found, list) else []


def timed_event(entry):
    """The Event of an entry, None for whole days. ValueError if the entry has no usable times."""
    start, end = entry.get("start"), entry.get("end")
    if not isinstance(start, dict) or not isinstance(end, dict):
        raise ValueError("start or end is missing")
    if "dateTime" not in start and "date" in start:
        date.fromisoformat(text(start["date"]))
        return None
    begins, ends = instant(start), instant(end)
    if ends <= begins:
        raise ValueError("the end is not after the start")
    if ends - begins >= WHOLE_DAY:
        return None
    return Event(begins, ends, any(a.get("self") is not True for a in attendees(entry)))


def instant(when):
    t = datetime.fromisoformat(text(when.get("dateTime")))
    if t.tzinfo is None:
        t = t.replace(tzinfo=zone(when.get("timeZone")))
    t.astimezone(timezone.utc)  # OverflowError here, not in the middle of an addition
    # Python subtracts two times of one zone as clocks on the wall; with fixed offsets it counts the time that passed.
    return t.replace(tzinfo=timezone(t.utcoffset()))


def zone(name):
    try:
        return ZoneInfo(text(name)) if name else timezone.utc
    except (KeyError, OSError):  # no such zone, or no zone data in the sandbox
        return timezone.utc


def text(value):
    if not isinstance(value, str):
        raise ValueError("no text")
    return value
