"""Writes where it was not registered to. "namespace" and "endpoint" in the record choose the target, "hidden" puts the
foreign Response behind one that is right."""

from entries import entries, response, wish

configuration, bundle = entries("foreign-endpoint")


def process(event, context):
    foreign = response(
        {"planted": True},
        namespace=wish(event, "namespace", "rumpel"),
        endpoint=wish(event, "endpoint", "notablesv1"),
    )
    return [response({"planted": False}), foreign] if wish(event, "hidden") else [foreign]
