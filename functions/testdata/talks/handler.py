"""Logs without end: "kilobytes" of lines (5,000 unless said), the whole event among them, then succeeds."""

import sys

from entries import entries, response, wish

configuration, bundle = entries("talks")


def process(event, context):
    print(event)
    lines = wish(event, "kilobytes", 5000)
    for n in range(lines):
        print(("%d " % n).ljust(1023, "x"))
    sys.stdout.flush()
    return [response({"lines": lines})]
