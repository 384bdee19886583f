"""Sets and replaces what belongs to the whole process, as libraries and tests of authors do, and then answers."""
import builtins
import gc
import json
import locale
import os
import random
import signal
import socket
import sys
import time
import traceback
import warnings

socket.setdefaulttimeout(0.000001)
warnings.simplefilter("error")
sys.setrecursionlimit(60)
gc.disable()
locale.setlocale(locale.LC_ALL, "C")


def alarm(*_):
    raise TimeoutError("the alarm of the function")


socket.socket = socket.create_connection = None
json.loads = json.dumps = None
json.JSONEncoder.iterencode = json.JSONEncoder.default = json.decoder.JSONDecoder.decode = None
time.time = lambda: 0
traceback.extract_tb = traceback.format_list = None
os.write = os.urandom = None
os.close(1)  # the next descriptor that is opened has this number
os.umask(0o777)
os.chdir("/")
os.environ.clear()
os.environ = None
sys.stdout = sys.stderr = None
builtins.print = builtins.open = None
sys.modules.pop("json")
random.seed = None
sys.modules["random"] = object()


def quiet():
    signal.setitimer(signal.ITIMER_REAL, 0)


def handler(event, context):
    quiet()
    return [event, context.get_remaining_time_in_millis() > 0, context.function_name]


class Own(Exception):
    pass


def fails(event, context):
    quiet()
    raise Own("secret " + event)


signal.signal(signal.SIGALRM, alarm)
signal.setitimer(signal.ITIMER_REAL, 0.05)  # while it waits for its event, which an instance that waits does
