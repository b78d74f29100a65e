"""Layouts: what stands between values is learned from one record, and known in others."""

from itertools import permutations
from typing import Any

import pytest

from pipeline.native import layout
from pipeline.native.layout import LAYOUT_BYTES, REACH, SPANS_BYTES
from tests.native_support import callable_from_python, memory

learn, take = map(callable_from_python, (layout.learn, layout.take))

VALUES = {"id": b"1b-2c", "event": b"video_25", "timestamp": b"1617393003"}
FIELDS = list(VALUES)
ROOM = b" " * REACH


def record(order: tuple[str, ...] = ("id", "event", "timestamp"), **values: bytes) -> bytes:
    quotes = {"id": b'"', "event": b'"', "timestamp": b""}
    members = (b'"%s":%s%s%s' % (n.encode(), quotes[n], values.get(n, VALUES[n]), quotes[n]) for n in order)
    return b"{" + b",".join(members) + b"}\n"


def learned(text: bytes) -> tuple[bool, Any]:
    """Whether the layout of a record can be used, and its memory."""
    spans = [(at, at + len(VALUES[name])) for name in FIELDS for at in [text.index(VALUES[name])]]
    data, kept = memory(text + ROOM), memory(bytes(LAYOUT_BYTES))
    numbers = memory(b"".join(number.to_bytes(8, "little") for span in spans for number in span))
    assert len(numbers) == SPANS_BYTES
    return learn(data.ctypes.data, 0, len(text), numbers.ctypes.data, kept.ctypes.data), kept


def taken(text: bytes, kept: Any) -> tuple[int, ...]:
    data = memory(text + ROOM)
    return tuple(map(int, take(data.ctypes.data, 0, len(data), kept.ctypes.data)))


@pytest.mark.parametrize("order", list(permutations(FIELDS)))
def test_records_of_the_same_layout(order: tuple[str, ...]) -> None:
    """Values of other lengths too, an id of more bytes than are compared at once among them."""
    usable, kept = learned(record(order))
    assert usable
    for identity in (b"x", b"0123456789abcdef" * 5):
        other = record(order, id=identity, event=b"video_completed", timestamp=b"0")
        stop, code, time, start, end = taken(other, kept)
        assert (stop, code, time, other[start:end]) == (len(other), 5, 0, identity)


@pytest.mark.parametrize("order", list(permutations(FIELDS)))
def test_one_byte_that_differs(order: tuple[str, ...]) -> None:
    """Between the values none may; within them what is no value is not taken."""
    text = record(order)
    _, kept = learned(text)
    starts = {name: text.index(VALUES[name]) for name in FIELDS}
    inside = {at + k for name, at in starts.items() for k in range(len(VALUES[name]))}
    for at in range(len(text)):
        for code in {0, 10, 32, 34, 44, 92, 125, 200, text[at] ^ 1} - {text[at]}:
            changed = bytes([*text[:at], code, *text[at + 1 :]])
            if taken(changed, kept)[0] > 0:
                assert at in inside, changed
                assert code not in (0, 10, 34, 92, 200), changed


@pytest.mark.parametrize(
    "values",
    [{"id": b""}, {"id": b"a\\u0061"}, {"id": "é".encode()}, {"event": b"video_2"}, {"event": b"video_2\\u0035"}]
    + [{"timestamp": text} for text in (b"", b"-1", b"01", b"1.0", b"1e3", b"253402297200", b"9" * 30)],
)
def test_values_for_the_parser(values: dict[str, bytes]) -> None:
    _, kept = learned(record())
    assert taken(record(**values), kept)[0] == -1


def test_an_event_type_that_is_the_start_of_the_next_piece() -> None:
    text = record()
    _, kept = learned(text)
    assert taken(text.replace(b'video_25"', b""), kept)[0] == -1


@pytest.mark.parametrize(("spaces", "usable"), [(0, True), (8, True), (9, False)])
def test_a_piece_has_up_to_16_bytes(spaces: int, usable: bool) -> None:
    text = record().replace(b"{", b"{" + b" " * (spaces + 1))  # with {"id":" these are 8 bytes
    assert learned(text)[0] == usable


def test_what_is_near_the_end_is_not_taken() -> None:
    """An id that goes on up to there would have later pieces compared with what is behind the end."""
    text = record()
    _, kept = learned(text)
    data = memory(text + ROOM)
    start = text.index(VALUES["id"])
    stop = start + len(VALUES["id"])
    for end, is_taken in ((stop + REACH, True), (stop + REACH - 1, False)):
        assert (take(data.ctypes.data, 0, end, kept.ctypes.data)[0] > 0) == is_taken
