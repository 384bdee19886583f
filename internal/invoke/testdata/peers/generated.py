"""What is answered is made from a seed, and what is read is told back, so that two runtimes can be compared."""
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import random
import uuid

Day = collections.namedtuple("Day", "day steps")


class Own(dict):
    pass


class Items(list):
    pass


class Text(str):
    def __str__(self):
        return "other"


class Number(int):
    def __repr__(self):
        return "other"


class Real(float):
    def __repr__(self):
        return "other"


class Kind(enum.IntEnum):
    RUN = 4


class Word(str, enum.Enum):
    RUN = "run"


class Like:
    def _asdict(self):
        return {"like": 1}


class Unlike:
    def _asdict(self):
        return [1]


class ForJSON:
    def for_json(self):
        return 1


@dataclasses.dataclass
class Data:
    a: int = 1


INTEGERS = [0, -1, 2**31, 2**53 + 1, -(2**63), 2**64, 10**40, 10**400]
FLOATS = [0.0, -0.0, 0.1, 1.0, -1.5, 1e16, 1e22, 1e-7, 1.7976931348623157e308, 5e-324, 123456789.123456789]
PIECES = ["", "a", "Grüße", "😀", '"', "\\", "/", "\n", "\0", "\x1f", "\x7f", "\u2028", "\ufeff", "<b>", "&", "\ud83d", "\ude00", "null", "1.10"]
DECIMALS = ["0", "-0", "1.10", "1E+3", "12345678901234567890.12345678901234567890", "1E-400", "-0.0"]


def text(r):
    return "".join(r.choice(PIECES) for _ in range(r.randrange(4)))


def plain_text(r):
    return text(r).encode("utf-8", "replace").decode()


def key(r):
    return r.choice([text, text, text, lambda r: r.choice(INTEGERS[:6]), lambda r: r.choice(FLOATS), lambda r: r.random() < 0.5, lambda r: None, lambda r: Number(3)])(r)


def broken(r):
    return r.choice([
        lambda: float("nan"), lambda: float("inf"), lambda: float("-inf"), lambda: decimal.Decimal("NaN"), lambda: {1, 2}, lambda: object(),
        lambda: datetime.datetime(2024, 1, 2), lambda: datetime.date(2024, 1, 2), lambda: fractions.Fraction(1, 3), lambda: uuid.UUID(int=1),
        lambda: 1j, lambda: (i for i in range(2)), lambda: range(2), lambda: bytearray(b"a"), lambda: memoryview(b"a"), lambda: b"\xff",
        lambda: Data(), lambda: Unlike(), lambda: ForJSON(), lambda: collections.UserDict(a=1), lambda: {(1, 2): 3}, lambda: 10**5000,
        lambda: deep(1200), lambda: cycle(), lambda: int, lambda: collections.deque([1]), lambda: {b"\xff": 1}, lambda: {frozenset(): 1},
    ])()


def deep(n):
    v = []
    for _ in range(n):
        v = [v]
    return v


def cycle():
    v = Own()
    v["v"] = [v]
    return v


def value(r, depth):
    leaves = [
        lambda: None, lambda: r.random() < 0.5, lambda: r.choice(INTEGERS), lambda: r.choice(FLOATS), lambda: r.uniform(-1e6, 1e6),
        lambda: text(r), lambda: plain_text(r).encode(), lambda: decimal.Decimal(r.choice(DECIMALS)), lambda: Kind.RUN, lambda: Word.RUN, lambda: Text("text"),
        lambda: Number(7), lambda: Real(1.5), lambda: Like(),
    ]
    trees = [
        lambda: [value(r, depth - 1) for _ in range(r.randrange(5))],
        lambda: tuple(value(r, depth - 1) for _ in range(r.randrange(3))),
        lambda: {key(r): value(r, depth - 1) for _ in range(r.randrange(5))},
        lambda: Own({text(r): value(r, depth - 1)}),
        lambda: collections.OrderedDict([(text(r), value(r, depth - 1))]),
        lambda: Items([value(r, depth - 1)]),
        lambda: Day(value(r, depth - 1), value(r, depth - 1)),
        lambda: {plain_text(r).encode(): value(r, depth - 1)},
    ]
    return r.choice(trees + leaves if depth > 0 else leaves)()


def writes(seed, context):
    r = random.Random(seed)
    v = value(r, 4)
    if seed % 4 == 0:
        b = broken(r)
        v = r.choice([lambda: b, lambda: [b], lambda: {"a": [v, b]}, lambda: Day(v, b), lambda: (b,)])()
    return v


def told(v):
    if isinstance(v, dict):
        return "{" + ",".join(f"{k!r}:{told(x)}" for k, x in v.items()) + "}"
    if isinstance(v, list):
        return "[" + ",".join(told(x) for x in v) + "]"
    return f"{type(v).__name__} {v!r}"


def reads(event, context):
    return ascii(told(event))
