"""Copies each record it is given, and links the copy to it. The second version of echo: it asks for more."""

from entries import entries, inputs, response

configuration, bundle = entries("echo", reads=("test/in", "test/more"), version="2.0.0")


def process(event, context):
    return [
        response({"of": r["recordId"], "from": r["endpoint"], "data": r["data"]}, linked=[r["recordId"]])
        for r in inputs(event)
    ]
