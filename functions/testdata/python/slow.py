"""Takes the longest of the "seconds" its records ask for, then succeeds: one Response for each record."""

import time

from entries import entries, inputs, response

configuration, bundle = entries("slow")


def seconds(record):
    return record["data"].get("seconds", 0) if isinstance(record["data"], dict) else 0


def process(event, context):
    records = inputs(event)
    time.sleep(max(map(seconds, records), default=0))
    return [response({"of": r["recordId"], "seconds": seconds(r)}, linked=[r["recordId"]]) for r in records]
