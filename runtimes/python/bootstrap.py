"""Runs an AWS Lambda handler written in Python: asks the Runtime API for the event, calls the handler, reports.

The Runtime API is spoken over a plain socket, so that as little as possible is imported beside the function.
Format: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import json
import os
import sys
import time

TASK = os.environ["LAMBDA_TASK_ROOT"]
API = os.environ["AWS_LAMBDA_RUNTIME_API"]
PREFIX = "/2018-06-01/runtime/"


connection = None  # kept for the next request


def request(method, path, body=b"", headers=()):
    """Sends one request and gives (status, headers in lower case, body)."""
    import socket

    global connection
    head = [f"{method} {PREFIX}{path} HTTP/1.1", f"Host: {API}", f"Content-Length: {len(body)}"]
    head += [f"{k}: {v}" for k, v in headers]
    head = "\r\n".join(head + ["", ""]).encode("latin-1")
    kept, connection = connection, None
    if kept:
        try:
            return exchange(kept, head, body)
        except OSError:
            pass  # a function may close what it did not open
    host, _, port = API.partition(":")
    return exchange(socket.create_connection((host, int(port))), head, body)


def exchange(s, head, body):
    global connection
    try:
        if len(body) <= 1 << 16:
            s.sendall(head + body)
        else:
            s.sendall(head)
            s.sendall(body)
    except (BrokenPipeError, ConnectionResetError):
        pass  # too large: the answer says so
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
    part = s.recv(1 << 16)
    if not part:
        raise ConnectionResetError("the Runtime API hung up")
    return part


def document(error, error_type=None, trace=None):
    """A function's error in Lambda's form."""
    import traceback

    if trace is None:
        trace = traceback.format_list([f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__])
    return {
        "errorMessage": str(error),
        "errorType": error_type or type(error).__name__,
        "requestId": Context.current_id or "",
        "stackTrace": trace,
    }


def report(path, doc):
    try:
        print(f"[ERROR] {doc['errorType']}: {doc['errorMessage']}", *doc["stackTrace"], sep="\n", file=sys.stderr, flush=True)
    except Exception:
        pass  # a function may close what it did not open
    request("POST", path, json.dumps(doc).encode(), [("Lambda-Runtime-Function-Error-Type", plain(doc["errorType"]))])


def plain(name):
    return "".join(c for c in name if c.isalnum() or c in "._")[:100]


class Identity:
    cognito_identity_id = None
    cognito_identity_pool_id = None


class Context:
    """What a handler gets as its second argument."""

    current_id = None

    def __init__(self, headers):
        env = os.environ.get
        self.aws_request_id = headers["lambda-runtime-aws-request-id"]
        self.invoked_function_arn = headers.get("lambda-runtime-invoked-function-arn", "")
        self.function_name = env("AWS_LAMBDA_FUNCTION_NAME")
        self.function_version = env("AWS_LAMBDA_FUNCTION_VERSION")
        self.memory_limit_in_mb = env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.log_group_name = env("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = env("AWS_LAMBDA_LOG_STREAM_NAME")
        self.client_context = None
        self.identity = Identity()
        self._deadline = int(headers["lambda-runtime-deadline-ms"])

    def get_remaining_time_in_millis(self):
        return max(0, self._deadline - int(time.time() * 1000))

    def log(self, message):
        sys.stdout.write(str(message))


def forward_logging():
    """Gives the root logger the handler it has on Lambda: to the log, with level, time and request id.

    It must be there before the function's modules are: they find it, and logging.basicConfig leaves it alone.
    """
    import logging

    class Handler(logging.Handler):
        def emit(self, record):
            try:
                record.aws_request_id = Context.current_id or ""
                sys.stdout.write(self.format(record) + "\n")
            except Exception:
                self.handleError(record)

    lines = logging.Formatter("[%(levelname)s]\t%(asctime)s.%(msecs)dZ\t%(aws_request_id)s\t%(message)s", "%Y-%m-%dT%H:%M:%S")
    lines.converter = time.gmtime
    handler = Handler()
    handler.setFormatter(lines)
    logging.getLogger().addHandler(handler)


class InitError(Exception):
    def __init__(self, error_type, message, trace=()):
        super().__init__(message)
        self.error_type, self.trace = error_type, list(trace)


def load(handler):
    """Finds module.function, where the module may be in packages: a.b.function or a/b.function."""
    import importlib
    import traceback

    module_name, dot, function = handler.rpartition(".")
    if not dot or not module_name or not function:
        raise InitError("Runtime.MalformedHandlerName", f"Bad handler '{handler}': want module.function")
    module_name = module_name.replace("/", ".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as e:
        raise InitError("Runtime.ImportModuleError", f"Unable to import module '{module_name}': {e}") from e
    except SyntaxError as e:
        where = f'  File "{e.filename}" Line {e.lineno}\n    {e.text}'
        raise InitError("Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_name}': {e}", [where]) from e
    except Exception as e:
        raise InitError(type(e).__name__, str(e), traceback.format_tb(e.__traceback__)) from e
    found = getattr(module, function, None)
    if not callable(found):
        raise InitError("Runtime.HandlerNotFound", f"Handler '{function}' missing on module '{module_name}'")
    return found


def fresh_randomness():
    """This process may be a copy of one that waited for its event: generators seeded before must not repeat.

    What asks the kernel each time (os.urandom, secrets, uuid4) needs nothing. A generator that the function made and
    seeded itself is left alone.
    """
    random = sys.modules.get("random")
    if random:
        random.seed()
    numpy = sys.modules.get("numpy.random")
    if numpy:
        numpy.seed()
    tempfile = sys.modules.get("tempfile")
    if tempfile:
        tempfile._name_sequence = None
    ssl = sys.modules.get("ssl")
    if ssl:
        ssl.RAND_add(os.urandom(64), 64.0)


def encode(answer):
    def extra(value):
        import decimal

        if isinstance(value, decimal.Decimal):
            return float(value)
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")

    try:
        return json.dumps(answer, ensure_ascii=False, default=extra).encode()
    except UnicodeEncodeError:  # half a surrogate pair: JSON has a way to write it, UTF-8 has none
        return json.dumps(answer, default=extra).encode()


def main():
    sys.path.insert(0, TASK)
    sys.stdout.reconfigure(line_buffering=True)
    forward_logging()
    try:
        handler = load(os.environ["_HANDLER"])
    except InitError as e:
        report("init/error", document(e, e.error_type, e.trace))
        sys.exit(1)
    except SystemExit:
        raise
    except BaseException as e:
        report("init/error", document(e))
        sys.exit(1)

    while True:
        _, headers, body = request("GET", "invocation/next")
        fresh_randomness()
        answer_one(handler, headers, body)


def answer_one(handler, headers, body):
    request_id = Context.current_id = headers["lambda-runtime-aws-request-id"]
    os.environ["_X_AMZN_TRACE_ID"] = headers.get("lambda-runtime-trace-id", "")
    path = f"invocation/{request_id}/"
    try:
        event = json.loads(body)
    except ValueError as e:
        report(path + "error", document(e, "Runtime.UnmarshalError", []))
        return
    try:
        answer = handler(event, Context(headers))
    except Exception as e:
        report(path + "error", document(e))
        return
    try:
        text = encode(answer)
    except Exception as e:
        report(path + "error", document(e, "Runtime.MarshalError"))
        return
    try:
        sys.stdout.flush()
    except Exception:
        pass  # it was closed, or is something else now
    request("POST", path + "response", text, [("Content-Type", "application/json")])


if __name__ == "__main__":
    # The handler's module may do "import bootstrap" or look at __main__; it finds its own file first.
    main()
