"""Sleeps far beyond its time limit of two seconds and does not wish to be woken; with "busy" it burns the time."""

import signal
import time

from entries import entries, response, wish

configuration, bundle = entries("sleeps")


def process(event, context):
    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
        signal.signal(s, signal.SIG_IGN)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if not wish(event, "busy"):
            time.sleep(1)
    return [response({"woke": True})]
