"""Cutting arrays: the compiled search for their commas against plain Python's."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.formats.blocks import _last_comma_plain
from pipeline.native import loader as native
from tests.documents import ARRAYS
from tests.support import BROKEN, expected

_TOKENS = (
    "{",
    "}",
    "[",
    "]",
    ",",
    ",",
    '"a,]"',
    '"\\""',
    '"\\\\"',
    '"\\\\\\"[{,"',
    '"' + "\\\\" * 40 + '"',
    "1",
    " " * 9,
)
_TEXTS = st.lists(st.sampled_from(_TOKENS), max_size=200).map("".join)
_ELEMENTS = st.lists(st.sampled_from(('{"a":"},"}', "[[],{}]", '"\\\\"', " " * 70)), max_size=40).map(",".join)


def found(data: bytes) -> tuple[int, int, int]:
    places = np.empty(2, np.int64)
    comma = native.invoke("last_comma", np.frombuffer(data, np.uint8), len(data), places)
    return comma, *places.tolist()


@settings(max_examples=1000)
@given(_TEXTS | _ELEMENTS, st.integers(0, 70))
def test_any_text_cut_anywhere(text: str, cut: int) -> None:
    data = text.encode()
    for piece in (data, data[: max(len(data) - cut, 0)], data[:64], data[:128]):
        assert found(piece) == _last_comma_plain(piece)


@settings(max_examples=300)
@given(ARRAYS)
def test_arrays(data: bytes) -> None:
    assume(expected(data) != BROKEN)  # outside of strings a backslash may mean anything
    inside = data.partition(b"[")[2]
    assert found(inside) == _last_comma_plain(inside)
