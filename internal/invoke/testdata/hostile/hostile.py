"""Leaves a mark wherever Python offers a place that outlives a call, and looks for one there; speaks to the Runtime API
as it should not. The same in each language: hostile.js, Hostile.java, Hostile.cs. hostile_test.go says what for."""

import __main__ as bootstrap
import atexit
import builtins
import codecs
import contextvars
import copyreg
import gc
import importlib.abc
import json
import linecache
import locale
import logging
import os
import re
import signal
import socket
import string
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import warnings

kept = {}
variable = contextvars.ContextVar("variable", default=None)
local = threading.local()


class Attribute:
    """An attribute of something that is there anyway."""

    def __init__(self, of):
        self.of = of

    def leave(self, mark):
        self.of.she_mark = mark

    def find(self):
        return getattr(self.of, "she_mark", None)


class Replaced:
    """A function put in the place of another, which it calls: what runs next runs through it."""

    def __init__(self, of, name):
        self.of, self.name = of, name

    def leave(self, mark):
        old = getattr(self.of, self.name)

        def replaced(*args, **kw):
            return old(*args, **kw)

        replaced.mark = mark
        setattr(self.of, self.name, replaced)

    def find(self):
        return getattr(getattr(self.of, self.name), "mark", None)


class Place:
    def __init__(self, leave, find):
        self.leave, self.find = leave, find


class Out:
    def __init__(self, to, mark):
        self.to, self.mark = to, mark

    def __getattr__(self, name):
        return getattr(self.to, name)


class Hook(importlib.abc.MetaPathFinder):
    def __init__(self, mark):
        self.mark = mark

    def find_spec(self, *args):
        return None


def last(values):
    marks = [m for m in (getattr(v, "mark", None) for v in values) if m]
    return marks[-1] if marks else None


def marked(mark, body=lambda *a, **k: None):
    def f(*args, **kw):
        return body(*args, **kw)

    f.mark = mark
    return f


def replace_stream(name):
    return Place(lambda m: setattr(sys, name, Out(getattr(sys, name), m)), lambda: getattr(sys, name).__dict__.get("mark"))


def in_background(mark):
    def work(mark=mark):
        while True:
            kept["thread said"] = mark
            time.sleep(0.01)

    threading.Thread(target=work, daemon=True, name=mark).start()


def timer(mark):
    t = threading.Timer(3600, lambda: None)
    t.daemon, t.name = True, "timer " + mark
    t.start()


def threads(prefix, but=""):
    names = [t.name for t in threading.enumerate() if prefix in t.name and not (but and t.name.startswith(but))]
    return names[-1] if names else None


def listen(mark):
    if "listener" in kept:
        kept["listener"].close()
    kept["listener"] = s = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), reuse_port=True)

    def serve():
        try:
            while True:
                c, _ = s.accept()
                c.sendall(mark.encode())
                c.close()
        except OSError:
            return

    threading.Thread(target=serve, daemon=True).start()


def connect():
    try:
        with socket.create_connection(("127.0.0.1", int(os.environ["PORT"])), timeout=2) as s:
            return s.recv(100).decode()
    except OSError:
        return None


def child(mark):
    kept["child"] = subprocess.Popen(["/bin/sh", "-c", "sleep 30; : " + mark], start_new_session=True)


def children():
    found = None
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as f:
                line = f.read()
        except OSError:
            continue
        if "sleep 30; : " in line:
            found = line.split("sleep 30; : ")[1].strip("\0")
    return found


def write(path):
    def leave(mark):
        with open(path, "w") as f:
            f.write(mark)

    def find():
        try:
            with open(path) as f:
                return f.read()
        except OSError:
            return None

    return Place(leave, find)


def open_file(mark):
    f = kept["file"] = tempfile.TemporaryFile()
    f.write(mark.encode())
    f.flush()


def descriptors():
    found = None
    for fd in os.listdir("/proc/self/fd"):
        try:
            if "(deleted)" in os.readlink("/proc/self/fd/" + fd):
                found = os.pread(int(fd), 100, 0).decode() or found
        except OSError:
            continue
    return found


def directory(mark):
    os.makedirs("/tmp/" + mark, exist_ok=True)
    os.chdir("/tmp/" + mark)


def module(mark):
    m = type(sys)("she_module")
    m.mark = mark
    sys.modules["she_module"] = m


def logger(mark):
    h = logging.NullHandler()
    h.mark = mark
    logging.getLogger().addHandler(h)


class Cycle:
    def __init__(self, mark):
        self.mark, self.me = mark, self


PLACES = {
    "module-global": Place(lambda m: kept.__setitem__("mark", m), lambda: kept.get("mark")),
    "default-argument": Place(lambda m: default.__defaults__[0].append(m), lambda: default()[-1] if default() else None),
    "class-attribute": Attribute(Place),
    "thread-local": Place(lambda m: setattr(local, "mark", m), lambda: getattr(local, "mark", None)),
    "context-variable": Place(lambda m: variable.set(m), variable.get),
    "garbage": Place(lambda m: Cycle(m) and None, lambda: last(o for o in gc.get_objects() if type(o) is Cycle)),
    "builtin-name": Attribute(builtins),
    "builtin-open": Replaced(builtins, "open"),
    "builtin-print": Replaced(builtins, "print"),
    "builtin-import": Replaced(builtins, "__import__"),
    "json-reader": Replaced(json, "loads"),
    "json-writer": Replaced(json, "dumps"),
    "socket-maker": Replaced(socket, "create_connection"),
    "clock": Replaced(time, "time"),
    "bootstrap-request": Replaced(bootstrap, "request"),
    "bootstrap-answer": Replaced(bootstrap, "answer_one"),
    "bootstrap-report": Replaced(bootstrap, "report"),
    "bootstrap-context": Attribute(bootstrap.Context),
    "bootstrap-reseed": Replaced(bootstrap, "fresh_randomness"),
    "handler": Replaced(sys.modules[__name__], "handler"),
    "stdout": replace_stream("stdout"),
    "stderr": replace_stream("stderr"),
    "module-table": Place(module, lambda: getattr(sys.modules.get("she_module"), "mark", None)),
    "import-hook": Place(lambda m: sys.meta_path.append(Hook(m)), lambda: last(sys.meta_path)),
    "import-path": Place(lambda m: sys.path.append("/" + m), lambda: next((p for p in reversed(sys.path) if "shemark" in p), None)),
    "exception-hook": Replaced(sys, "excepthook"),
    "thread-exception-hook": Replaced(threading, "excepthook"),
    "unraisable-hook": Replaced(sys, "unraisablehook"),
    "trace-of-threads": Place(lambda m: threading.settrace(marked(m)), lambda: getattr(threading._trace_hook, "mark", None)),
    "collector-callback": Place(lambda m: gc.callbacks.append(marked(m)), lambda: last(gc.callbacks)),
    "signal-handler": Place(lambda m: signal.signal(signal.SIGUSR1, marked(m)), lambda: getattr(signal.getsignal(signal.SIGUSR1), "mark", None)),
    "log-handler": Place(logger, lambda: last(logging.getLogger().handlers)),
    "codec": Place(lambda m: codecs.register(marked(m, lambda name: ("", m, "", "") if name == "shecodec" else None)), lambda: codec()),
    "pickle-table": Place(lambda m: copyreg.pickle(Cycle, marked(m)), lambda: getattr(copyreg.dispatch_table.get(Cycle), "mark", None)),
    "line-cache": Place(lambda m: linecache.cache.__setitem__("she", (0, None, [m], "")), lambda: (linecache.cache.get("she") or (0, 0, [None]))[2][0]),
    "warning-filter": Place(lambda m: warnings.filterwarnings("ignore", m), lambda: next((f[1].pattern for f in warnings.filters if f[1] and "shemark" in f[1].pattern), None)),
    "opener": Place(lambda m: urllib.request.install_opener(marked(m)), lambda: getattr(urllib.request._opener, "mark", None)),
    "environment": Place(lambda m: os.environ.__setitem__("SHE_MARK", m), lambda: os.environ.get("SHE_MARK")),
    "directory": Place(directory, lambda: os.getcwd() if "shemark" in os.getcwd() else None),
    "thread": Place(in_background, lambda: kept.pop("thread said", None) or threads("shemark", "timer")),
    "timer": Place(timer, lambda: threads("timer shemark")),
    "child": Place(child, children),
    "listener": Place(listen, connect),
    "open-file": Place(open_file, descriptors),
    "tmp": write("/tmp/she-left"),
    "shm": write("/dev/shm/she-left"),
}


def default(held=[]):
    return held


def codec():
    try:
        return codecs.lookup("shecodec")[1]
    except (LookupError, TypeError):
        return None


def leave(e, context):
    left = []
    for name, place in PLACES.items():
        try:
            place.leave(e["mark"])
            left.append(name)
        except Exception as failure:
            print(name, failure, file=sys.__stderr__)
    return left


def find(e, context):
    found = {}
    until = time.monotonic() + e.get("millis", 0) / 1000
    while True:
        for name, place in PLACES.items():
            try:
                mark = place.find()
            except Exception as failure:
                print(name, failure, file=sys.__stderr__)
                continue
            if mark and "shemark" in str(mark):
                found.setdefault(name, str(mark))
        if time.monotonic() >= until:
            return found
        time.sleep(0.02)


def hold(e, context):
    began = time.time()
    leave(e, context)
    left = time.time()
    time.sleep(e["millis"] / 1000)
    return {"began": began, "left": left, "ended": time.time()}


def exit_hook(e, context):
    def hook():
        os.write(1, e["mark"].encode())

    atexit.register(hook)
    if e.get("exit"):
        sys.exit(0)


def raw(request, context):
    """Sends bytes to the Runtime API and gives the reply's first line."""
    host, _, port = os.environ["AWS_LAMBDA_RUNTIME_API"].partition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=20) as s:
            s.sendall(request.replace("{id}", context.aws_request_id).encode())
            return s.makefile("rb").readline().decode().strip()
    except OSError as failure:
        return str(failure)


def speak(e, context):
    def later():
        time.sleep(0.05)
        for request in e.get("later", []):
            if request.startswith("print "):
                print(request[6:], flush=True)
            else:
                raw(request, context)

    if e.get("large"):
        e["now"] = [r.replace("{large}", "h" * e["large"]) for r in e["now"]]
    replies = [raw(request, context) for request in e.get("now", [])]
    threading.Thread(target=later, daemon=True).start()
    time.sleep(e.get("millis", 0) / 1000)
    return {"replies": replies, "mark": e["mark"]}


def frames(e, context):
    """Writes to every pipe and socket that this process, and if told so process 1, has open."""
    os.write(1, bytes.fromhex(e["frame"]))
    for folder in e["paths"]:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            try:
                if os.readlink(f"{folder}/{name}").startswith("pipe:"):
                    fd = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_NONBLOCK)
                    os.write(fd, bytes.fromhex(e["frame"]))
                    os.close(fd)
            except OSError:
                continue
    return {"mark": e["mark"]}


def send(e, context):
    """Tries to reach somebody who listens, in each way the language offers."""
    host, port = e["target"].split(":")
    try:
        urllib.request.urlopen(f"http://{e['target']}/{e['mark']}-client", timeout=2).read()
    except OSError:
        pass
    try:
        with socket.create_connection((host, int(port)), timeout=2) as s:
            s.sendall(f"GET /{e['mark']}-stream HTTP/1.0\r\n\r\n".encode())
            s.recv(1)
    except OSError:
        pass
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(f"{e['mark']}-packet".encode(), (host, int(port)))
    except OSError:
        pass


def fail(e, context):
    raise type(e["mark"], (Exception,), {})(e["mark"])


def handler(e, context):
    return {"leave": leave, "find": find, "hold": hold, "exit": exit_hook, "speak": speak, "frames": frames, "send": send, "fail": fail}[e["do"]](e, context)
