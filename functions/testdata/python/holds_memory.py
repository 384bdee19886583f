"""Takes "mebibytes" of memory, within its limit, touching every page, and holds them for "seconds"."""

import time

from entries import entries, response, wish

configuration, bundle = entries("holds-memory")

PAGE = 4096


def process(event, context):
    pages = wish(event, "mebibytes", 0) * 1024 * 1024 // PAGE
    held = bytearray(pages * PAGE)
    held[::PAGE] = bytes([1]) * pages
    time.sleep(wish(event, "seconds", 0))
    return [response({"held": sum(held[::PAGE]) * PAGE // 1024 // 1024})]
