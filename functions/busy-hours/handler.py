"""The three entries of the SHE function busy-hours: when is the owner busy, by the calendar?"""

from datetime import datetime, timezone

import calendar_events
import hours

NAMESPACE = "drops"
ENDPOINT = "insights/busy-hours"

# Only times and answers to invitations are asked for: no titles, no places, no names of guests.
BUNDLE = {
    "name": "busy-hours",
    "bundle": {
        "events": {
            "endpoints": [
                {
                    "endpoint": "calendar/google/events",
                    "mapping": {
                        "id": "id",
                        "start": "start",
                        "end": "end",
                        "status": "status",
                        "transparency": "transparency",
                        "attendees[]": {
                            "source": "attendees[]",
                            "mappings": {"self": "self", "response": "responseStatus"},
                        },
                    },
                }
            ],
            "orderBy": "start.dateTime",
            "ordering": "ascending",
        }
    },
}

CONFIGURATION = {
    "id": "busy-hours",
    "info": {
        "version": "1.0.0",
        "versionReleaseDate": "2024-06-01T12:00:00.000Z",
        "name": "Busy hours",
        "headline": "The hours and days your calendar fills most",
        "description": {
            "text": "Once a day, looks at the calendar events that have arrived since the last time and adds up how "
            "long you were busy in each hour of each weekday, which meetings left no time to breathe, and whether "
            "your weeks are getting fuller. It sees when events are, not what they are about or who comes."
        },
        "termsUrl": "https://example.org/busy-hours/terms",
        "supportContact": "busy-hours@example.org",
        "dataPreview": [],
        "graphics": {"banner": {"normal": ""}, "logo": {"normal": ""}, "screenshots": []},
    },
    "developer": {"id": "she-examples", "name": "SHE examples", "url": "https://example.org"},
    "trigger": {"triggerType": "periodic", "period": "P1D"},
    "dataBundle": BUNDLE,
    "status": {"available": True, "enabled": False},
}


def configuration(event, context):
    return CONFIGURATION


def bundle(event, context):
    # Not narrowed to fromDate..untilDate: an event may arrive long before or after it takes place.
    return BUNDLE


def process(event, context):
    records = event["request"]["data"].get("events", [])
    read = calendar_events.read(record.get("data") for record in records)
    if not read.timed and not read.all_day:
        return []
    summary = hours.summarise(read)
    summary["timestamp"] = wire_time(datetime.now(timezone.utc))
    return [
        {
            "namespace": NAMESPACE,
            "endpoint": ENDPOINT,
            "data": [summary],
            "linkedRecords": [],
        }
    ]


def wire_time(t):
    return t.strftime("%Y-%m-%dT%H:%M:%S.") + f"{t.microsecond // 1000:03d}Z"
