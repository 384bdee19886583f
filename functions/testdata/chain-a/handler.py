"""Reads what chain-b writes and writes what chain-b reads: without a limit the two would never rest."""

from entries import entries, inputs, response

configuration, bundle = entries("chain-a", reads=("test/in", "test/chain-b"))


def process(event, context):
    return [
        response(
            {"by": "chain-a", "of": r["recordId"], "length": length(r["data"]) + 1},
            linked=[r["recordId"]],
            endpoint="chain-a",
        )
        for r in inputs(event)
    ]


def length(data):
    return data.get("length", 0) if isinstance(data, dict) else 0
