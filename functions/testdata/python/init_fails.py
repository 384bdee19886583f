"""Fails before it is asked anything: no entry of it ever answers."""

import a_module_that_nobody_packed  # noqa: F401


def configuration(event, context):
    return {}


def bundle(event, context):
    return {}


def process(event, context):
    return []
