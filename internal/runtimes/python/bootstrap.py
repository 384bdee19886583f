"""Runs an AWS Lambda handler written in Python: asks the Runtime API for the event, calls the handler, reports.

It lives in the function's process, whose code may replace or set anything there: default time-outs, the json module,
signal handlers, standard streams. So all that is used after the function's code is loaded was taken before, the Runtime
API is spoken over the interpreter's own kind of socket, and what is set for the whole process is not relied on.
Format: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import _signal
import _socket
import importlib
import json
import logging
import marshal
import os
import sys
import time
import traceback

TASK = os.environ["LAMBDA_TASK_ROOT"]
API = os.environ["AWS_LAMBDA_RUNTIME_API"]
PREFIX = "/2018-06-01/runtime/"


# Signals that are blocked while the bootstrap runs. Signals about a fault in the program itself can't be.
SIGNALS = _signal.valid_signals() - {_signal.SIGSEGV, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL, _signal.SIGABRT}


def no_number(name):
    raise ValueError(f"{name} is no JSON")


class own:
    """What was taken before the function's code. Tools that replace, say, time.time look for it in modules, not here."""

    environ = dict(os.environ)
    hide = os.environ.pop
    stdout = sys.stdout
    modules = sys.modules
    now, gmtime = time.time, time.gmtime
    write, urandom, exit = os.write, os.urandom, os._exit
    socket = _socket.socket
    dumps = marshal.dumps
    extract_tb, format_list = traceback.extract_tb, traceback.format_list
    read = json.JSONDecoder(parse_constant=no_number).scan_once
    import_module = importlib.import_module
    sigmask = _signal.pthread_sigmask


def writer(ascii):
    """Gives json.dumps without its module: an encoder of its own, which nobody else can change."""
    encoder = json.JSONEncoder(ensure_ascii=ascii, allow_nan=False, default=extra)
    chunks = encoder.iterencode
    return lambda value: "".join(chunks(value, True)).encode()


connection = None  # kept for the next request


def connect():
    """Opens a connection that waits as long as it takes, whatever socket.setdefaulttimeout says."""
    host, _, port = API.partition(":")
    low = []  # if the function closed a standard stream, its output would go into this connection
    s = own.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    while s.fileno() <= 2:
        low.append(s)
        s = own.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    for unused in low:
        unused.close()
    s.settimeout(None)
    s.connect((host, int(port)))
    return s


def request(method, path, body=b"", headers=()):
    """Sends one request and gives (status, headers in lower case, body)."""
    global connection
    head = [f"{method} {PREFIX}{path} HTTP/1.1", f"Host: {API}", f"Content-Length: {len(body)}"]
    head += [f"{k}: {v}" for k, v in headers]
    head = "\r\n".join(head + ["", ""]).encode("latin-1", "replace")
    kept, connection = connection, None
    if kept:
        try:
            return exchange(kept, head, body)
        except OSError:
            pass  # a function may close what it did not open
    return exchange(connect(), head, body)


def exchange(s, head, body):
    global connection
    try:
        if len(body) <= 1 << 16:
            s.sendall(head + body)
        else:
            s.sendall(head)
            s.sendall(body)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the body was too large: the answer says so
    got, end = b"", -1
    while end < 0:
        got += receive(s)
        end = got.find(b"\r\n\r\n")
    first, *lines = got[:end].decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in fields}
    parts = [got[end + 4 :]]
    left = int(headers["content-length"]) - len(parts[0])
    while left > 0:
        parts.append(receive(s))
        left -= len(parts[-1])
    if headers.get("connection") == "close":
        s.close()
    else:
        connection = s
    return int(first.split()[1]), headers, b"".join(parts)


def receive(s):
    while True:
        try:
            part = s.recv(1 << 16)
            break
        except OSError as e:
            if e.errno is not None:
                raise
            # Raised by a signal handler of the function, like the exception below: outside its call, so it is dropped.
        except BaseException:
            pass
    if not part:
        raise ConnectionResetError("the Runtime API hung up")
    return part


def hold_signals():
    """Has signals of the function's own wait: a handler that raises would take away what was just read."""
    while True:
        try:
            return own.sigmask(_signal.SIG_BLOCK, SIGNALS)
        except BaseException:
            pass  # raised by a signal handler, after the mask was set


def let_signals(mask):
    """Gives back what hold_signals took. What a handler raises for a signal that waited is in no call of the function."""
    while True:
        try:
            own.sigmask(_signal.SIG_SETMASK, mask)
            return
        except BaseException:
            pass


def text_of(error):
    try:
        return str(error)
    except Exception:
        return "(its text can't be had: __str__ raises)"


def document(error, error_type=None, trace=None):
    """A function's error in Lambda's form."""
    if trace is None:
        try:
            trace = own.format_list([f for f in own.extract_tb(error.__traceback__) if f.filename != __file__])
        except Exception:
            trace = []
    return {
        "errorMessage": text_of(error),
        "errorType": error_type or type(error).__name__,
        "requestId": Context.current_id or "",
        "stackTrace": list(trace),
    }


def report(path, doc, kind=None):
    flush()
    lines = [f"[ERROR] {doc['errorType']}: {doc['errorMessage']}", *doc["stackTrace"], ""]
    try:
        left = "\n".join(lines).encode("utf-8", "backslashreplace")
        while left:
            left = left[own.write(2, left) :]
    except OSError:
        pass  # a function may close what it did not open
    request("POST", path, in_ascii(doc), [("Lambda-Runtime-Function-Error-Type", kind or plain(doc["errorType"]))])


def plain(name):
    """An error's name for a header, which has no letters beyond ASCII; without one the document's counts."""
    if not name.isascii():
        return "Unhandled"
    return "".join(c for c in name if c.isalnum() or c in "._")[:100]


def flush():
    for stream in (sys.stdout, sys.stderr, own.stdout):
        try:
            stream.flush()
        except Exception:
            pass  # the function closed or replaced it


class Identity:
    cognito_identity_id = None
    cognito_identity_pool_id = None


class Context:
    """What a handler gets as its second argument."""

    current_id = None

    def __init__(self, headers, entry):
        env = own.environ.get
        self.aws_request_id = headers["lambda-runtime-aws-request-id"]
        self.invoked_function_arn = headers.get("lambda-runtime-invoked-function-arn", "")
        self.function_name = entry.name
        self.function_version = env("AWS_LAMBDA_FUNCTION_VERSION")
        self.memory_limit_in_mb = env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.log_group_name = entry.log_group
        self.log_stream_name = env("AWS_LAMBDA_LOG_STREAM_NAME")
        self.client_context = None
        self.identity = Identity()
        self._deadline = int(headers["lambda-runtime-deadline-ms"])

    def get_remaining_time_in_millis(self):
        return max(0, self._deadline - int(own.now() * 1000))

    def log(self, message):
        sys.stdout.write(str(message))


def forward_logging():
    """Gives the root logger the handler it has on Lambda: to the log, with level, time and request id.

    It must be there before the function's modules are: they find it, and logging.basicConfig leaves it alone.
    """

    class Handler(logging.Handler):
        def emit(self, record):
            try:
                record.aws_request_id = Context.current_id or ""
                sys.stdout.write(self.format(record) + "\n")
            except Exception:
                self.handleError(record)

    lines = logging.Formatter("[%(levelname)s]\t%(asctime)s.%(msecs)dZ\t%(aws_request_id)s\t%(message)s", "%Y-%m-%dT%H:%M:%S")
    lines.converter = own.gmtime
    handler = Handler()
    handler.setFormatter(lines)
    logging.getLogger().addHandler(handler)


class InitError(Exception):
    def __init__(self, error_type, message, trace=()):
        super().__init__(message)
        self.error_type, self.trace = error_type, list(trace)


class Entry:
    """One handler of this process, and what is set while it has an event."""

    def __init__(self, handler, name):
        group = "/aws/lambda/" + name
        self.name, self.log_group = name, group
        self.environ = {"_HANDLER": handler, "AWS_LAMBDA_FUNCTION_NAME": name, "AWS_LAMBDA_LOG_GROUP_NAME": group}
        self.enter()
        self.function = load(handler)

    def enter(self):
        try:
            for name, value in self.environ.items():
                os.environ[name] = value
        except Exception:
            pass  # the function put something else there


def load_entries():
    """Loads the handler, and the one that may have an event before it, by what events call them."""
    env = own.environ
    entries = {"": Entry(env["_HANDLER"], env["AWS_LAMBDA_FUNCTION_NAME"])}
    if "SHE_FIRST_HANDLER" in env:
        entries["first"] = Entry(env["SHE_FIRST_HANDLER"], env["SHE_FIRST_NAME"])
        entries[""].enter()
    return entries


def load(handler):
    """Finds module.function, where the module may be in packages: a.b.function or a/b.function."""
    module_name, dot, function = handler.rpartition(".")
    if not dot or not module_name or not function:
        raise InitError("Runtime.MalformedHandlerName", f"Bad handler '{handler}': want module.function")
    module_name = module_name.replace("/", ".")
    try:
        module = own.import_module(module_name)
    except ImportError as e:
        raise InitError("Runtime.ImportModuleError", f"Unable to import module '{module_name}': {text_of(e)}{absent(e)}") from e
    except SyntaxError as e:
        where = f'  File "{e.filename}" Line {e.lineno}\n    {e.text}'
        raise InitError("Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_name}': {e}", [where]) from e
    except Exception as e:
        raise InitError(type(e).__name__, text_of(e), document(e)["stackTrace"]) from e
    found = getattr(module, function, None)
    if not callable(found):
        raise InitError("Runtime.HandlerNotFound", f"Handler '{function}' missing on module '{module_name}'")
    return found


# Modules that Lambda's images contain besides Python.
LAMBDAS = ("boto3", "botocore", "s3transfer", "jmespath", "awslambdaric")


def absent(error):
    """Advice on an import that would have worked on Lambda."""
    name = (getattr(error, "name", None) or "").partition(".")[0]
    return f" ({name} is in Lambda's images and not here: add it to the package)" if name in LAMBDAS else ""


def fresh_randomness():
    """This process may be a copy of one that waited for its event: generators seeded before must not repeat.

    What asks the kernel each time (os.urandom, secrets, uuid4) needs nothing. A generator that the function made and
    seeded itself is left alone. A module of the function may have one of these names.
    """
    for name, reseed in (
        ("random", lambda m: m.seed()),
        ("numpy.random", lambda m: m.seed()),
        ("tempfile", lambda m: setattr(m, "_name_sequence", None)),
        ("ssl", lambda m: m.RAND_add(own.urandom(64), 64.0)),
    ):
        module = own.modules.get(name)
        if module:
            try:
                reseed(module)
            except Exception:
                pass


class NoJSON(ValueError):
    """NaN or an infinity, which Python writes and nobody may read."""


def encode(answer):
    """Writes the answer as Lambda's client does: with simplejson, so that named tuples are objects, bytes are text and a
    Decimal keeps its digits."""
    if isinstance(answer, bytes):
        return answer
    numbers = []
    mark = own.urandom(16).hex()
    try:
        own.dumps(answer, 2)  # takes only plain lists, dicts, text and numbers
    except Exception:
        try:
            answer = simple(answer, mark, numbers)
        except RecursionError:
            raise ValueError("it holds itself, or is nested too deeply") from None
    try:
        try:
            text = written(answer)
        except TypeError:  # bytes as a key
            text = written(simple(answer, mark, numbers))
    except ValueError:
        found = out_of_range(answer)
        if found is None:
            raise
        raise NoJSON("%s is no JSON, at %s" % found) from None
    if numbers:
        first, *rest = text.split(f'"{mark}'.encode())
        text = b"".join([first] + [number + part[1:] for number, part in zip(numbers, rest)])
    return text


def written(answer):
    try:
        return in_utf8(answer)
    except UnicodeEncodeError:  # an unpaired surrogate: JSON can write it, UTF-8 can't
        return in_ascii(answer)


def simple(value, mark, numbers):
    """Makes what json would write otherwise than Lambda's client into what it writes alike. In place of a Decimal is the
    mark, and its digits are in numbers."""
    if isinstance(value, (str, int, float)) or value is None:
        return value
    if isinstance(value, (bytes, bytearray)):
        return extra(value)
    if isinstance(value, list):
        return [simple(v, mark, numbers) for v in value]
    fields = getattr(value, "_asdict", None)
    if callable(fields):
        value = fields()
        if not isinstance(value, dict):
            raise TypeError(f"_asdict() must return a dict, not {type(value).__name__}")
    if isinstance(value, tuple):
        return [simple(v, mark, numbers) for v in value]
    if isinstance(value, dict):
        return {k.decode() if isinstance(k, bytes) else k: simple(v, mark, numbers) for k, v in value.items()}
    kind = type(value)
    if any((c.__module__, c.__name__) == ("decimal", "Decimal") for c in kind.__mro__):
        if not value.is_finite():
            return float("nan") if value.is_nan() else float(value)
        numbers.append(str(value).encode())
        return mark
    return value


def extra(value):
    if isinstance(value, bytes):
        return value.decode()
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def out_of_range(value):
    """Finds the first number that is none, and where it is, as a JSON pointer."""
    left = [("", value)]
    while left:
        at, value = left.pop()
        if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
            return ("NaN" if value != value else "Infinity" if value > 0 else "-Infinity"), at or "/"
        if isinstance(value, dict):
            inner = [(str(k).replace("~", "~0").replace("/", "~1"), v) for k, v in value.items()]
        elif isinstance(value, (list, tuple)):
            inner = list(enumerate(value))
        else:
            continue
        left += [(f"{at}/{k}", v) for k, v in reversed(inner)]
    return None


in_utf8, in_ascii = writer(False), writer(True)


def decode(body):
    text = body.decode("utf-8", "surrogatepass").removeprefix("\ufeff").strip(" \t\n\r")
    try:
        value, end = own.read(text, 0)
    except StopIteration as e:
        raise ValueError(f"Expecting value: char {e.value}") from None
    if end != len(text):
        raise ValueError(f"Extra data: char {end}")
    return value


def layers():
    """Where modules of layers are, in the order in which Lambda looks. Which version a layer is for is its author's choice."""
    try:
        versions = sorted(name for name in os.listdir("/opt/python/lib") if name.startswith("python"))
    except OSError:
        versions = []
    return [*(f"/opt/python/lib/{name}/site-packages" for name in versions), "/opt/python"]


def main():
    global connection
    sys.path[:0] = [TASK, *layers()]
    sys.stdout.reconfigure(line_buffering=True)
    forward_logging()
    connection = connect()  # before a function can close a standard stream, whose number the connection would get
    for name in ("SHE_FIRST_HANDLER", "SHE_FIRST_NAME"):
        own.hide(name, None)
    try:
        entries = load_entries()
    except InitError as e:
        report("init/error", document(e, e.error_type, e.trace))
        own.exit(1)
    except SystemExit:
        raise
    except BaseException as e:
        report("init/error", document(e))
        own.exit(1)

    mask = hold_signals()
    while True:
        _, headers, body = request("GET", "invocation/next")
        fresh_randomness()
        entry = entries[headers.get("she-entry", "")]
        if len(entries) > 1:
            entry.enter()
        answer_one(entry, headers, body, mask)


def answer_one(entry, headers, body, mask):
    request_id = Context.current_id = headers["lambda-runtime-aws-request-id"]
    try:
        os.environ["_X_AMZN_TRACE_ID"] = headers.get("lambda-runtime-trace-id", "")
    except Exception:
        pass  # the function put something else there
    path = f"invocation/{request_id}/"
    try:
        event = decode(body)
    except Exception as e:  # also if it is nested too deeply
        report(path + "error", document(e, "Runtime.UnmarshalError", []))
        return
    let_signals(mask)
    try:
        try:
            answer = entry.function(event, Context(headers, entry))
        finally:
            hold_signals()
    except Exception as e:
        report(path + "error", document(e))
        return
    try:
        text = encode(answer)
    except Exception as e:
        kind = "Runtime.MarshalError"
        report(path + "error", document(e, kind), kind + ".NaN" if isinstance(e, NoJSON) else None)
        return
    flush()
    request("POST", path + "response", text, [("Content-Type", "application/json")])


if __name__ == "__main__":
    # The handler's module may do "import bootstrap" or look at __main__; it finds its own file first.
    main()
