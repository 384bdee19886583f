"""Answers nothing; with "how": "list" the empty list, which is an honest answer."""

from entries import entries, wish

configuration, bundle = entries("empty")


def process(event, context):
    return [] if wish(event, "how") == "list" else None
