"""Both decoders against the oracle and each other, over valid, odd and damaged documents.

Each property decodes with the compiled scanner (which hands on what it does not take) and with the strict decoder.
"""

import json
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.events import pieces
from bench.realistic import MIXES
from pipeline.formats.decoding import Block, Shape
from tests import documents, support
from tests.documents import (
    ALIKE,
    ARRAYS,
    DAMAGED_ALIKE,
    DAMAGED_ARRAYS,
    DAMAGED_LINES,
    EVENT,
    JSON_ALPHABET,
    LINES,
    SEEDS,
    Writer,
)
from tests.support import BROKEN, DECODERS, decode_block, decode_source
from tests.support import check_decoders as check


@settings(max_examples=2000)
@given(LINES | DAMAGED_LINES)
def test_lines_in_any_spelling(data: bytes) -> None:
    check(data)


@settings(max_examples=2000)
@given(ARRAYS | DAMAGED_ARRAYS)
def test_arrays_in_any_spelling(data: bytes) -> None:
    check(data)


@settings(max_examples=2400)
@given(ALIKE | DAMAGED_ALIKE)
def test_records_that_are_laid_out_alike(data: bytes) -> None:
    check(data)


_SAME_NAMES = ("a", "b", "id", "event", "timestamp")
_SPACE = b" " * 100


def _related(random: Random) -> list[bytes]:
    """Records of few names and shapes in all kinds of nesting, so that the same bytes often mean something else."""

    def value(level: int) -> str:
        kind = random.randrange(9 if level < 3 else 6)
        if kind < 6:
            return ("1", "-2.5", "null", "true", '"x"', '""')[kind]
        inner = [value(level + 1) for _ in range(random.randrange(3))]
        if kind < 8:
            return "[" + ",".join(inner) + "]"
        return "{" + ",".join(f'"{random.choice(_SAME_NAMES)}":{item}' for item in inner) + "}"

    def record() -> bytes:
        members = [f'"{name}":{value(1)}' for name in random.choices(_SAME_NAMES[:2], k=random.randrange(4))]
        members += ['"id":"x"', '"event":"video_25"', f'"timestamp":{random.randrange(10**10)}']
        if random.random() < 0.5:
            random.shuffle(members)
        return ("{" + ",".join(members) + "}").encode()

    return [record() for _ in range(random.randint(10, 60))]


@settings(max_examples=400)
@given(SEEDS, st.sampled_from((b"\n", b",", b", ", b",\n ")), st.integers(0, 3))
def test_the_same_bytes_in_other_places(seed: int, separator: bytes, damages: int) -> None:
    random = Random(seed)
    text = bytearray(separator.join(_related(random)) + _SPACE)
    for _ in range(damages):
        at = random.randrange(len(text))
        text[at] = random.choice(b'{}[],:"1 nx\\\n') if text[at] in b'{}[],:"' else text[at]
    check(bytes(text) + b"\n" if separator == b"\n" else b"[" + bytes(text) + b"]")


@settings(max_examples=200)
@given(st.sampled_from(MIXES), SEEDS, st.booleans())
def test_damaged_realistic_records(mix: str, seed: int, is_array: bool) -> None:
    random = Random(seed)
    lines = b"".join(pieces(20, mix, seed)).splitlines()
    for _ in range(random.randrange(3)):
        at = random.randrange(len(lines))
        lines[at] = documents.damaged(lines[at], random)
    check(b"[" + b", ".join(lines) + _SPACE + b"]" if is_array else b"\n".join(lines) + _SPACE + b"\n")


@settings(max_examples=400)
@given(st.binary() | JSON_ALPHABET)
def test_arbitrary_bytes(data: bytes) -> None:
    check(data)


@settings(max_examples=400)
@given(st.binary(max_size=30) | JSON_ALPHABET, st.sampled_from((b"[%s]", b'{"mock_for_test":[%s]}', b"[%s")))
def test_arbitrary_bytes_in_an_array(data: bytes, wrap: bytes) -> None:
    check(wrap % data)


@settings(max_examples=300)
@given(st.lists(documents.events(), max_size=5), st.booleans(), st.sampled_from((None, 2)))
def test_every_event_that_python_writes_is_taken(
    items: list[dict[str, Any]], ascii_only: bool, indent: int | None
) -> None:
    rows = sorted((item["id"], item["event"], item["timestamp"]) for item in items)
    lines = "".join(json.dumps(item, ensure_ascii=ascii_only) + "\n" for item in items).encode()
    array = json.dumps(items, ensure_ascii=ascii_only, indent=indent).encode()
    for name in DECODERS:
        assert decode_source(lines, name) == (rows, [])
        assert decode_source(array, name) == (rows, [])


@settings(max_examples=400)
@given(SEEDS, st.integers(0, 1 << 40), st.integers(0, 1000))
@example(seed=0, offset=0, index=0)
def test_places_in_a_block_count_from_its_own_place(seed: int, offset: int, index: int) -> None:
    writer = Writer(Random(seed), newlines=True)
    records = [writer.record() for _ in range(3)]
    inside = documents.damaged(",".join(records).encode(errors="surrogatepass"), writer.random) + b"\n"
    for shape in (Shape.LINES, Shape.ELEMENTS):
        first = decode_block(Block(inside, shape), "strict")
        moved = decode_block(Block(inside, shape, offset=offset, index=index), "compiled")
        if first == BROKEN:
            assert moved == BROKEN
            continue
        events, places = first
        step = 0 if shape is Shape.LINES else index
        wanted = [(place[0] + offset, None if place[1] is None else place[1] + step) for place in places]  # type: ignore[index]
        assert moved == (events, wanted)


@settings(max_examples=400)
@given(SEEDS, st.integers(0, 1 << 40))
def test_the_decoders_give_the_same_rejects(seed: int, offset: int) -> None:
    writer = Writer(Random(seed), newlines=False)
    data = documents.damaged(writer.lines(), writer.random) + b"\n"
    results = []
    for name in DECODERS:
        with support.decoder(name):
            batch = Block(data, Shape.LINES, "s", offset).decode()
        results.append((sorted(support.batch_rows(batch)), batch.rejects))
    assert results[0] == results[1]


@settings(max_examples=200)
@given(LINES | DAMAGED_LINES | ARRAYS | DAMAGED_ARRAYS | ALIKE | DAMAGED_ALIKE)
def test_without_ids_the_same_but_for_the_ids(data: bytes) -> None:
    for shape in (Shape.LINES, Shape.ELEMENTS):
        block = Block(data + b"\n", shape)
        for name in DECODERS:
            with support.decoder(name):
                try:
                    full = block.decode()
                except support.InputError:
                    with pytest.raises(support.InputError):
                        block.decode(want_ids=False)
                    continue
                bare = block.decode(want_ids=False)
            assert bare.rejects == full.rejects
            assert bare.codes.tolist() == full.codes.tolist()
            assert bare.timestamps.tolist() == full.timestamps.tolist()
            assert len(bare.ids.data) == 0


@pytest.mark.parametrize("wrap", [b"%s\n", b"[%s]"], ids=["line", "array"])
@pytest.mark.parametrize("junk", documents.JUNK, ids=repr)
def test_junk_at_every_place_of_an_event(junk: bytes, wrap: bytes) -> None:
    for at in range(len(EVENT) + 1):
        check(wrap % (EVENT[:at] + junk + EVENT[at:]))
        check(wrap % (EVENT[:at] + junk + EVENT[at + 1 :]))


@pytest.mark.parametrize("text", documents.NUMBERS + documents.NOT_JSON + documents.TIMESTAMPS, ids=lambda t: t[:20])
def test_every_odd_value_in_every_field(text: str) -> None:
    value = text.encode()
    records = [
        b'{"id":%s,"event":"video_25","timestamp":1}' % value,
        b'{"id":"a","event":%s,"timestamp":1}' % value,
        b'{"id":"a","event":"video_25","timestamp":%s}' % value,
        b'{"id":"a","event":"video_25","timestamp":1,"x":%s}' % value,
        b'{"x":[{"y": %s}],"id":"a","event":"video_25","timestamp":1}' % value,
        value,
    ]
    for record in records:
        check(EVENT + b"\n" + record + b"\n" + EVENT)
        check(b"[" + EVENT + b", " + record + b" ," + EVENT + b"]")


@pytest.mark.parametrize("levels", [1, 29, 30, 31, 32, 197, 198, 199, 200, 201, 5000])
@pytest.mark.parametrize("nest", [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"]":', b"}]")], ids=["lists", "objects", "both"])
def test_nesting_around_the_limits(levels: int, nest: tuple[bytes, bytes]) -> None:
    for middle in (b"1", b"[]", b"{}", b'"]"', b"[1,", b""):
        for depth in (levels, levels // 2):
            record = EVENT[:-1] + b',"x":' + nest[0] * depth + middle + nest[1] * depth + b"}"
            check(EVENT + b"\n" + record + b"\n" + EVENT + b"\n")
            check(b"[" + EVENT + b"," + record + b"," + EVENT + b"]")


def test_brackets_that_are_not_closed_whatever_the_nesting() -> None:
    """What is between values is known again by its bytes, and some of so many nestings share a place in the table."""
    good = b'{"v":{"a":1,"b":"x"},"id":"i","event":"video_25","timestamp":1}\n'
    for path in range(1 << 10):
        brackets = b"".join(b'{"c":' if path >> level & 1 else b"[" for level in range(10))
        check(good * 2 + good.replace(b'{"a":1', brackets + b'{"a":1') + good * 2)


@pytest.mark.parametrize("count", [1, 60, 61, 62, 63, 64, 65, 66, 1000])
@pytest.mark.parametrize("twice", [False, True])
def test_many_names_around_the_limit(count: int, twice: bool) -> None:
    names = [f"n{k}" for k in range(count)] + (["n0"] if twice else [])
    members = ",".join(f'"{name}":0' for name in names).encode()
    check(EVENT[:-1] + b"," + members + b"}\n")
    check(b"[" + EVENT[:-1] + b',"x":{' + members + b"}}]")
    check(EVENT[:-1] + b',"x":{"n0":{"n0":[{' + members + b"}," + b"{" + members + b'}]}},"y":{"x":0}}\n')
    nested = "".join(f'{{"{name}":' for name in names).encode() + b"1" + b"}" * len(names)
    check(EVENT[:-1] + b',"x":' + nested + b"}\n")


@pytest.mark.parametrize(
    ("name", "names"),
    [
        (b'"\\u0069d"', b'"id"'),
        (b'"e\\u0076ent"', b'"event"'),
        (b'"\\u0061"', b'"a"'),
        (b'"\\n\\u00e9\\ud83d\\ude00"', '"\\n\u00e9\U0001f600"'.encode()),
        (b'"' + b"\\u0061" * 60 + b'"', b'"' + b"a" * 60 + b'"'),
    ],
)
def test_an_escaped_name_is_the_same_as_the_plain_one(name: bytes, names: bytes) -> None:
    twice = b'{%s:1,%s:2,"id":"a","event":"video_25","timestamp":1}\n'
    check(twice % (name, names))
    check(twice % (name, name))
    check(b'{%s:"x","event":"video_25","timestamp":1}\n' % name + EVENT)


@pytest.mark.parametrize(
    "event", [b"\\u0076ideo_25", b"video_2\\u0035", b"video\\u005f250", b"video_25\\n", b"\\u0076" * 50]
)
def test_an_escaped_event_type(event: bytes) -> None:
    check(b'{"id":"a","event":"%s","timestamp":1}\n' % event + EVENT * 2 + b"\n" + EVENT)
