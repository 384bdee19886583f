"""Takes up to 1 GiB, eight times its limit, touching every page so that the memory is really used."""

from entries import entries, response

configuration, bundle = entries("eats-memory")

MIB = 1024 * 1024


def process(event, context):
    eaten = []
    for _ in range(1024):
        block = bytearray(MIB)
        for page in range(0, MIB, 4096):
            block[page] = 1
        eaten.append(block)
    return [response({"eatenMiB": len(eaten)})]
