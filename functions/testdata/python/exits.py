"""Ends its process instead of answering. The record's "how" chooses the way."""

import ctypes
import os
import signal
import sys

from entries import entries, wish

configuration, bundle = entries("exits")

WAYS = {
    "os._exit": lambda: os._exit(0),
    "sys.exit": lambda: sys.exit(3),
    "sys.exit-0": lambda: sys.exit(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "kill-parent": lambda: (os.kill(os.getppid(), signal.SIGKILL), signal.pause()),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "segfault": lambda: ctypes.string_at(0),
    "close-all": lambda: (os.closerange(0, 1024), os._exit(0)),
}


def process(event, context):
    WAYS[wish(event, "how", "os._exit")]()
    return []
