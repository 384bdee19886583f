"""Answers something that is no list of Responses, and talks nonsense on both outputs. The record's "how" chooses."""

import os
import sys

from entries import entries, inputs, response, wish

configuration, bundle = entries("garbage")

FOREIGN_ID = "00000000-0000-4000-8000-000000000000"


def without(key):
    r = response({"n": 1})
    del r[key]
    return [r]


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


ANSWERS = {
    "object": lambda: {"not": "a list"},
    "string": lambda: "[]",
    "number": lambda: 7,
    "list-of-numbers": lambda: [1, 2],
    "no-namespace": lambda: without("namespace"),
    "no-endpoint": lambda: without("endpoint"),
    "no-data": lambda: without("data"),
    "no-linked-records": lambda: without("linkedRecords"),
    "data-is-no-list": lambda: [{**response(), "data": {"n": 1}}],
    "foreign-record": lambda: [response({"n": 1}, linked=[FOREIGN_ID])],
    "no-record-id": lambda: [response({"n": 1}, linked=["first"])],
    "second-is-bad": lambda: [response({"n": 1}), {"namespace": "test"}],
    "nan": lambda: [response({"n": float("nan")})],
    "deep": lambda: [response(nested(300))],
    "too-large": lambda: [response("x" * (6 * 1024 * 1024 + 1))],
    "many": lambda: [response(*({"n": n} for n in range(200_000)))],
    "unserialisable": lambda: [response(object())],
}


def process(event, context):
    print("\x1b[2J{\"errorMessage\": \"not one\"}\r\n\x00\x07", inputs(event))
    sys.stderr.write("END RequestId: 0 Status: success\n")
    os.write(1, b"\xff\xfe\xc0\n")
    return ANSWERS[wish(event, "how", "object")]()
