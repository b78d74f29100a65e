"""Documents for property tests: valid, nearly valid and damaged, written in every way that JSON allows."""

from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import strategies as st

from tests import oracle

SEEDS = st.integers(0, 2**32 - 1)
EVENT = b'{"id":"a","event":"video_25","timestamp":1}'

# fmt: off
NUMBERS = [
    "0", "-0", "1", "-1", "12.5", "1e400", "-1E+2", "0.0e-0", "1e0", "123456789012345678901234567890", "9" * 5000,
]
NOT_JSON = [
    "01", "1.", ".5", "+1", "-", "1e", "1e+", "0x1", "NaN", "-Infinity", "Infinity", "tru", "True", "nul", "-01", "'a'",
    '"\\x"', '"\\u12g4"', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud800\\u0041"', '"\\udfff\\udc00"',
    '"\\ud800\\udbff"', '"\\ud800\\ue000"', "[1,]", "[,1]", "{,}", "{1:2}", '{"a"}',
    '{"a":1,}', '{"a" 1}', "[1 2]", '"\t"', '"\x00"', '"\x1f"', "", "/**/1", "\u00a01", "[", "{", "]", "}",
]
TIMESTAMPS = [
    "0", "-0", "1617393003", "253402297199", "253402297200", "1617393003000", "999999999999", "9999999999999", "-1",
    "1617393003.0", "1e9", "1E9", "01617393003", "true", "null", '"1617393003"', "1" * 25, "-" + "9" * 30, "9" * 4999,
    "9223372036854775807", "18446744073709551616", "0.0", "[1]", "1617393003 ", "161739 3003",
]
IDENTITIES = [
    '""', "null", "1", "true", "[]", "{}", '"\\ud800"', '["a"]', '"\\u0000"', '"a', '"\\ud83d\\ude00"',
]
KINDS = [
    '"video_26"', '"Impressions"', '""', "null", "0", "true", '"impression"', '"impressionss"', '["video_25"]',
]
NAMES = [
    "", "x", "ID", "i", "ids", "identity", "event_", "even", "timestamp2", "timestam", "id ", "é", "日本", "\U0001f600",
    "a\\", 'a"', "{", "}", "[", "]", ",", ":", "\x7f", "\u2028", "\n", "\x00", "id\x00", "mock_for_test",
]
TEXTS = [
    *NAMES, "a" * 7, "a" * 300, "impressions", "\ufeff", "\uffff", "\U0010ffff", "\u07ff\u0800", "\r\n", '","', '"}',
    "\\u0041",
]
JUNK = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r", b" ", b"\t", b"\0", b"\x0b", b"\x1f", b"\x7f",
    b"\x80", b"\xc0\xaf", b"\xc3", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xf0\x80\x80\x80",
    b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xff\xbf\xbf\xbf",
    b"\xff", b"0", b"9", b"-", b".", b"e", b"\\u0069", b"\\ud83d", b"\\ude00", b"null", b"NaN", b"true", b"//", b"\n\n",
    b",,", "\u00a0".encode(), "\u2028".encode(), "é".encode(), "\U0001f600".encode(), b"\\/", b'\\"', b"\\\\",
    b'"id":', b'"x":1,',
]
# fmt: on

_SHORT = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Writer:
    """Writes JSON in one of the many ways to spell it, with a random generator that Hypothesis seeds."""

    def __init__(self, random: Random, newlines: bool) -> None:
        self.random = random
        self._space = " \t\r\n" if newlines else " \t\r"
        self._tidy = random.random() < 0.5

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def space(self) -> str:
        if self._tidy or self.chance(0.6):
            return ""
        return "".join(self.random.choices(self._space, k=self.random.randint(1, 3)))

    def string(self, text: str) -> str:
        escapes = self.random.choice((0.0, 0.0, 0.1, 1.0))
        return '"' + "".join(self._char(char, escapes) for char in text) + '"'

    def _char(self, char: str, escapes: float) -> str:
        must = char in '"\\' or char < " "
        if not must and not self.chance(escapes):
            return char
        if char in _SHORT and self.chance(0.5):
            return _SHORT[char]
        units = char.encode("utf-16-be").hex()
        units = units.upper() if self.chance(0.5) else units
        return "".join("\\u" + units[k : k + 4] for k in range(0, len(units), 4))

    def members(self, pairs: list[tuple[str, str]]) -> str:
        space = self.space
        members = (f"{space()}{self.string(name)}{space()}:{space()}{value}{space()}" for name, value in pairs)
        return "{" + (",".join(members) or space()) + "}"

    def value(self, level: int = 0) -> str:
        """Any value, now and then not JSON."""
        kind = self.random.randint(0, 9 if level < 4 else 6)
        if kind == 0:
            return self.random.choice(NUMBERS)
        if kind == 1:
            return self.random.choice(("true", "false", "null"))
        if kind == 2 and self.chance(0.15):
            return self.random.choice(NOT_JSON)
        if kind == 3 and self.chance(0.2):
            return self.deep()
        if kind <= 6:
            return self.string(self.text())
        if kind == 7:
            items = [self.space() + self.value(level + 1) + self.space() for _ in range(self.random.randint(0, 4))]
            return "[" + (",".join(items) or self.space()) + "]"
        names = [self.name() for _ in range(self.random.randint(0, 4))]
        return self.members([(name, self.value(level + 1)) for name in names])

    def deep(self) -> str:
        """Nested around the limits of both decoders (30, 200), or an object of many names, now and then one twice."""
        levels = self.random.choice((28, 29, 30, 31, 32, 198, 199, 200, 201, 1000))
        kind = self.random.randint(0, 3)
        if kind == 0:
            return "[" * levels + self.random.choice(("", "1", '"]"', "[]")) + "]" * levels
        if kind == 1:
            return '{"a":' * levels + "1" + "}" * levels
        if kind == 2:
            return '[{"[":' * (levels // 2) + "[]" + "}]" * (levels // 2)
        many = self.random.choice((60, 61, 62, 63, 64, 65, 66))
        return self.members([(f"n{k}", "0") for k in range(many)] + ([("n7", "0")] if self.chance(0.2) else []))

    def name(self) -> str:
        return self.random.choice(NAMES) if self.chance(0.7) else self.text()

    def text(self) -> str:
        if self.chance(0.5):
            return self.random.choice(TEXTS)
        tops = self.random.choices((0x7F, 0x7FF, 0xD7FF, 0xFFFF, 0x10FFFF), k=self.random.randint(0, 12))
        return "".join(chr(self.random.randint(0, top)) for top in tops).encode(errors="ignore").decode()

    def identity(self) -> str:
        if self.chance(0.9):
            return self.string(self.text() or "a")
        return self.random.choice(IDENTITIES)

    def kind(self) -> str:
        if self.chance(0.9):
            return self.string(self.random.choice(oracle.EVENTS))
        return self.random.choice(KINDS)

    def timestamp(self) -> str:
        if self.chance(0.85):
            return str(self.random.randint(0, self.random.choice((2 * 10**9, oracle.END_OF_TIME + 5))))
        return self.random.choice(TIMESTAMPS)

    def record(self) -> str:
        """An event more often than not."""
        if self.chance(0.04):
            return self.value()
        pairs = [("id", self.identity()), ("event", self.kind()), ("timestamp", self.timestamp())]
        if self.chance(0.06):
            del pairs[self.random.randrange(3)]
        if self.chance(0.06):
            pairs.append(self.random.choice(pairs))
        if self.chance(0.06):
            pairs += [(f"n{k}", "0") for k in range(self.random.choice((61, 63, 64, 65)))]
        if self.chance(0.5):
            pairs += [(self.name(), self.value(1)) for _ in range(self.random.randint(1, 3))]
        if self.chance(0.7):
            self.random.shuffle(pairs)
        return self.members(pairs)

    def lines(self) -> bytes:
        """A source of JSON Lines, now and then with a byte order mark, blank lines or without its last line end."""
        records = [self.space() + self.record() + self.space() for _ in range(self.random.randint(0, 6))]
        for _ in range(self.random.choice((0, 0, 2))):
            records.insert(self.random.randint(0, len(records)), self.random.choice(("", " ", "\r", "\t \r")))
        end = self.random.choice(("\n", "\n", "\r\n"))
        text = end.join(records) + (end if self.chance(0.7) else "")
        return _encode(self.random.choice(("", "", "", "\ufeff")) + text)

    def alike(self) -> list[str]:
        """Records of which most are laid out alike: only their id, event type and timestamp differ."""
        values = [("id", self.identity), ("event", self.kind), ("timestamp", self.timestamp)]
        if self.chance(0.6):
            self.random.shuffle(values)
        constant = self.random.choice(("", "", "", '"v":1,', '"a":"\\"id\\":",'))
        before = [f"{self.space()}{self.string(name)}{self.space()}:{self.space()}" for name, _ in values]
        after = [f"{self.space()},{constant}", f"{self.space()},", f"{self.space()}}}"]
        records = []
        for _ in range(self.random.randint(2, 12)):
            parts = [b + value() + a for b, (_, value), a in zip(before, values, after, strict=True)]
            records.append(self.record() if self.chance(0.1) else "{" + "".join(parts))
        return records

    def alike_lines(self) -> bytes:
        """JSON Lines of such records, long enough that none is near the end."""
        end = self.random.choice(("\n", "\n", " \n", "\r\n", "\n\n", "\n "))
        return _encode(end.join(self.alike()) + end + " " * 100)

    def alike_array(self) -> bytes:
        """An array of such records, as long."""
        end = self.random.choice((",", ", ", "\n,\n", " ,"))
        return _encode("[" + end.join(self.alike()) + " " * 100 + "]")

    def array(self) -> bytes:
        """A source that is an array, or an object around one; most of its records are JSON."""
        records = [self.space() + self.record() + self.space() for _ in range(self.random.randint(0, 6))]
        text = "[" + (",".join(records) or self.space()) + "]"
        if self.chance(0.4):
            text = self.members([("mock_for_test", text)]) if self.chance(0.5) else '{"mock_for_test":' + text + "}"
        return _encode(self.random.choice(("", "", "", "\ufeff")) + self.space() + text + self.space())


def _encode(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def damaged(data: bytes, random: Random) -> bytes:
    """The bytes with one to three changes: a flip, a cut, an insertion, a slice twice, an end too early."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 3)):
        at = random.randint(0, len(changed))
        size = random.choice((1, 1, 1, 2, 5, 40))
        kind = random.randint(0, 6)
        if kind == 0:
            changed[at : at + 1] = random.choice(JUNK)
        elif kind == 1:
            del changed[at : at + size]
        elif kind == 2:
            changed[at:at] = random.choice(JUNK)
        elif kind == 3:
            changed[at:at] = changed[at : at + size]
        elif kind == 4 and changed:
            changed[at % len(changed)] ^= 1 << random.randrange(8)
        elif kind == 5 and changed:
            changed[at % len(changed)] = random.randrange(256)
        elif random.random() < 0.3:
            del changed[at:]
    return bytes(changed)


def _documents(build: Callable[[Writer], bytes]) -> st.SearchStrategy[bytes]:
    def make(seed: int) -> bytes:
        random = Random(seed)
        return build(Writer(random, newlines=build in (Writer.array, Writer.alike_array)))

    return SEEDS.map(make)


def _damage(document: bytes, seed: int) -> bytes:
    return damaged(document, Random(seed))


LINES = _documents(Writer.lines)
ARRAYS = _documents(Writer.array)
ALIKE = _documents(Writer.alike_lines) | _documents(Writer.alike_array)
DAMAGED_LINES = st.builds(_damage, LINES, SEEDS)
DAMAGED_ARRAYS = st.builds(_damage, ARRAYS, SEEDS)
DAMAGED_ALIKE = st.builds(_damage, ALIKE, SEEDS)
_TOKENS = st.sampled_from([*JUNK, b'"event":"video_25"', b'"timestamp":1', b'"id":"a"'])
JSON_ALPHABET = st.lists(_TOKENS, max_size=30).map(b"".join)

_Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def events(max_timestamp: int = oracle.END_OF_TIME - 1) -> st.SearchStrategy[dict[str, Any]]:
    """Valid events as dicts, few different ids and hours, with and without other fields."""
    instants = st.integers(0, max_timestamp) | st.sampled_from((0, 3599, 3600, 1617393003, 1617400203))
    fields: dict[str, st.SearchStrategy[Any]] = {
        "id": st.sampled_from("abc") | st.text(min_size=1),
        "event": st.sampled_from(oracle.EVENTS),
        "timestamp": instants.filter(lambda instant: instant <= max_timestamp),
    }
    return st.fixed_dictionaries(fields, optional={"extra": _Json})


Events = list[oracle.Event]

# Few values of each field, and ids that end in what may stand behind an id in a key, so that near misses are common.
NEAR_DUPLICATES = st.lists(
    st.tuples(
        st.sampled_from(("a", "b", "a\0", "a\0\0\0\0\0\0", "a\x01", "é", "b" * 30)),
        st.sampled_from(oracle.EVENTS),
        st.sampled_from((0, 1, 6, 3599, 3600, 2**31, oracle.END_OF_TIME - 1)),
    )
)


def random_events(count: int, seed: int = 1, id_length: int = 1) -> list[dict[str, Any]]:
    """Events of two days, with ids that come again."""
    random = Random(seed)
    return [
        {
            "id": f"id-{random.randrange(count):0{id_length}}",
            "event": random.choice(oracle.EVENTS),
            "timestamp": 1617393003 + random.randrange(2 * 86400),
        }
        for _ in range(count)
    ]
