"""Gaps between values: one that was parsed is known again by its bytes, where they mean the same."""

from typing import Any

import pytest

from pipeline.native import layout
from pipeline.native.layout import END, EVENT, GAPS_BYTES, ID, KIND, NOTHING, NUMBER, SIZE, STRING, TIME
from pipeline.native.memory import LANES, load
from pipeline.native.names import TEXT_BYTES
from tests.native_support import callable_from_python, memory

init_gaps, find_cached_gap, parse_gap, word = map(
    callable_from_python, (layout.init_gaps, layout.find_cached_gap, layout.parse_gap, load)
)


class Gaps:
    """Memory for gaps, and the way through records that it has seen."""

    def __init__(self, newlines: bool = False) -> None:
        self._memory, self._text, self._newlines = memory(bytes(GAPS_BYTES)), memory(bytes(TEXT_BYTES)), newlines
        self.first = self._memory.ctypes.data
        init_gaps(self.first)

    def parse(self, text: bytes, after: int | None = None) -> Any:
        """The gap that text begins with, parsed; 0 where it is none. after: the gap before, if any."""
        data = memory(text.ljust(3 * LANES) + b"\n")
        gap = self.first if after is None else after
        return parse_gap(data.ctypes.data, 0, 3 * LANES, self._newlines, self.first, gap, self._text.ctypes.data)

    def find(self, text: bytes, after: int | None = None) -> Any:
        """The gap that text begins with, if it is found without parsing; else 0."""
        data = memory(text.ljust(3 * LANES) + b"\n")
        return find_cached_gap(data.ctypes.data, 0, self.first, self.first if after is None else after)


def described(gap: int) -> tuple[int, int]:
    """Kind and size."""
    return int(word(gap, KIND)), int(word(gap, SIZE))


def test_a_record_gap_by_gap() -> None:
    gaps, gap = Gaps(), None
    for text, kind in (
        (b'{"id":"', ID),
        (b', "a" : {"event":"', STRING),
        (b'},"b":[[],{},-', NUMBER),
        (b',{"x":true', NOTHING),
        (b'}],"timestamp":1', TIME),
        (b' , "event": "', EVENT),
        (b" } \r\n", END),
    ):
        gap = gaps.parse(text, gap)
        size = len(text) - (kind in (NUMBER, TIME))
        assert described(gap) == (kind, size)


@pytest.mark.parametrize(
    "text",
    [
        b'"id":"',
        b"[",
        b"{1",
        b'{"a" "b"',
        b'{"id":1',
        b'{"event":{',
        b'{"timestamp":"',
        b'{"id":null',
        b'{"a":tru,',
        b",{",
    ],
)
def test_what_is_no_start_of_an_event(text: bytes) -> None:
    assert Gaps().parse(text) == 0


@pytest.mark.parametrize(
    ("before", "text"),
    [(b'{"a":[1', b'},"b":1'), (b'{"a":{"b":1', b'],"b":1'), (b'{"a":1', b'],"b":1'), (b'{"a":1', b'"b":1')],
)
def test_what_cannot_follow_a_value(before: bytes, text: bytes) -> None:
    gaps = Gaps()
    assert gaps.parse(text, gaps.parse(before)) == 0


def test_a_gap_is_known_after_the_gap_before_it_and_elsewhere() -> None:
    gaps = Gaps()
    first = gaps.parse(b'{"v":1')
    known = gaps.parse(b',"user":"', first)
    assert gaps.find(b',"user":"x"', first) == known
    other = gaps.parse(b',"other":"', known)
    assert gaps.find(b',"user":"x"', other) == known
    assert gaps.find(b',"user": "x"', first) == 0


def test_the_same_bytes_elsewhere_in_the_nesting_are_another_gap() -> None:
    gaps = Gaps()
    record = gaps.parse(b'{"a":"')
    known = gaps.parse(b',"id":"', record)
    inner = gaps.parse(b',"b":{"c":"', record)
    assert gaps.find(b',"id":"', inner) == 0
    assert [described(gap)[0] for gap in (known, gaps.parse(b',"id":"', inner))] == [ID, STRING]
    listed = gaps.parse(b',"d":["', record)
    assert described(gaps.parse(b',"id":"', listed)) == (STRING, 2)


def test_other_nesting_in_the_same_place_of_the_table() -> None:
    """Some of so many nestings lead to the place in the table where the record's own gap is."""
    gaps = Gaps()
    known = gaps.parse(b',"abc":"', gaps.parse(b'{"a":"'))
    for path in range(1 << 9):
        brackets = b"".join(b'{"a":' if path >> level & 1 else b"[" for level in range(9))
        inner = gaps.parse(b'{"a":' + brackets + b'{"a":1')
        assert described(inner)[0] == NUMBER
        assert gaps.find(b',"abc":"', inner) == 0
    assert gaps.find(b',"abc":"', gaps.parse(b'{"a":"')) == known


def test_a_gap_that_begins_with_another_is_found_first() -> None:
    """A member may be a number in one record and a string in the next."""
    gaps = Gaps()
    first = gaps.parse(b'{"v":1')
    number, text = gaps.parse(b',"a":1', first), gaps.parse(b',"a":"', first)
    assert gaps.find(b',"a":1', first) == number
    assert gaps.find(b',"a":"x"', first) == text


@pytest.mark.parametrize(("size", "is_kept"), [(LANES, True), (LANES + 1, False)])
def test_longer_gaps_are_not_kept(size: int, is_kept: bool) -> None:
    gaps = Gaps()
    text = b'{"' + b"a" * (size - 5) + b'":"'
    gap = gaps.parse(text)
    assert described(gap) == (STRING, size)
    assert (gaps.find(text) == gap) is is_kept
    assert gaps.parse(b',"b":"', gap)
    assert gaps.find(b',"b":"', gaps.parse(b'{"' + b"b" * size + b'":[1')) == 0


def test_more_gaps_than_there_is_room_for() -> None:
    """They are parsed each time, and those that were kept are still known."""
    gaps = Gaps()
    first = gaps.parse(b'{"v":"')
    names = [b',"%03x":"' % number for number in range(4 * GAPS_BYTES // 128)]
    for name in names:
        assert described(gaps.parse(name, first)) == (STRING, len(name))
    assert sum(gaps.find(name, first) > 0 for name in names) > 100
    for name in names:
        assert gaps.find(name, first) in (0, gaps.parse(name, first))


def test_the_limit_of_nesting() -> None:
    for depth, kind in ((29, NUMBER), (30, NUMBER), (31, None)):
        gaps, gap = Gaps(), None
        for number in range(depth - 1):
            gap = gaps.parse(b'{"a":true' if not number else b',"a":{"b":true', gap)
        last = gaps.parse(b',"a":[1', gap)
        assert (described(last)[0] if last else None) == kind
