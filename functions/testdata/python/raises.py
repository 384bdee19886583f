"""Fails as functions do, with the owner's data in the message and the trace."""

from entries import entries, inputs

configuration, bundle = entries("raises")


def process(event, context):
    raise ValueError("cannot handle %r" % [record["data"] for record in inputs(event)])
