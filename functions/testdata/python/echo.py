"""Copies each record it is given, and links the copy to it."""

from entries import entries, inputs, response

configuration, bundle = entries("echo")


def process(event, context):
    return [
        response({"of": r["recordId"], "from": r["endpoint"], "data": r["data"]}, linked=[r["recordId"]])
        for r in inputs(event)
    ]
