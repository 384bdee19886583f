"""Reads what chain-a writes and writes what chain-a reads: without a limit the two would never rest."""

from entries import entries, inputs, response

configuration, bundle = entries("chain-b", reads=("test/chain-a",))


def process(event, context):
    return [
        response(
            {"by": "chain-b", "of": r["recordId"], "length": length(r["data"]) + 1},
            linked=[r["recordId"]],
            endpoint="chain-b",
        )
        for r in inputs(event)
    ]


def length(data):
    return data.get("length", 0) if isinstance(data, dict) else 0
