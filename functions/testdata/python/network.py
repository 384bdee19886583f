"""Tries to reach the catcher named in each record ({"host": …, "port": …}) and reports what succeeded. DNS is tried
only for a "name" in the record. Never aimed at anything but a catcher on the machine of the tests."""

import errno
import socket

from entries import entries, inputs, response

configuration, bundle = entries("network")

PATIENCE = 1  # seconds for each attempt


def attempt(what, *arguments):
    try:
        return what(*arguments)
    except socket.gaierror as e:
        return "EAI %d" % e.errno
    except TimeoutError:
        return "timeout"
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e.errno))


def tcp(host, port):
    with socket.create_connection((host, port), PATIENCE) as s:
        s.sendall(b"canary over tcp\n")
    return "connected"


def udp(host, port):
    family = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][0]
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(PATIENCE)
        s.sendto(b"canary over udp\n", (host, port))
        try:
            s.recv(1)
            return "answered"
        except TimeoutError:
            return "sent"


def dns(name):
    return sorted({a[4][0] for a in socket.getaddrinfo(name, 80)})


def unix(name):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(PATIENCE)
        s.connect("\0" + name[1:] if name.startswith("@") else name)
    return "connected"


def process(event, context):
    found = []
    for record in inputs(event):
        target = record["data"]
        result = {"interfaces": sorted(name for _, name in socket.if_nameindex())}
        if "host" in target:
            result["tcp"] = attempt(tcp, target["host"], target["port"])
            result["udp"] = attempt(udp, target["host"], target["port"])
        if "name" in target:
            result["dns"] = attempt(dns, target["name"])
        if "unix" in target:
            result["unix"] = attempt(unix, target["unix"])
        found.append(response(result, linked=[record["recordId"]]))
    return found
