"""Strict JSON numbers and literals: where they end, against Python's json; timestamps in their range."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.native import values
from pipeline.schema import MAX_TIMESTAMP
from tests import documents
from tests.native_support import callable_from_python, memory

after_number, after_literal, parse_timestamp = map(
    callable_from_python, (values.after_number, values.after_literal, values.parse_timestamp)
)
BEHIND = st.sampled_from((b"", b",", b" ,1", b"]", b"}" + b"1" * 40, b" " * 40))


def end_of(text: bytes) -> int:
    data = memory(text + b"\n")
    find = after_literal if text[:1] in b"tfn" else after_number
    arguments = (data.ctypes.data, 0) + (() if find is after_literal else (len(text),))
    return int(find(*arguments))


@settings(max_examples=400)
@given(
    (st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none()).map(json.dumps)
    | st.sampled_from(documents.NUMBERS),
    BEHIND,
)
def test_what_is_a_number_or_literal(text: str, behind: bytes) -> None:
    assert end_of(text.encode() + behind) == len(text)


@settings(max_examples=1000)
@given(st.text("0019.-+eE", min_size=1, max_size=12), BEHIND)
def test_any_spelling_of_a_number(text: str, behind: bytes) -> None:
    """What is no number ends nowhere, or where the longest number that it begins with does."""
    try:
        json.loads(text)
        wanted = len(text)
    except ValueError:
        wanted = -1
    found = end_of(text.encode() + behind)
    assert found == wanted if found in (-1, len(text)) else json.loads(text[:found]) is not None


@pytest.mark.parametrize("text", ["tru", "tRue", "nul", "nulL", "falsy", "-", "", "-x", "1.", "1.e5", "1e", "1e+"])
def test_what_is_neither(text: str) -> None:
    for behind in (b"", b",", b" " * 40):
        assert end_of(text.encode() + behind) == -1


def test_numbers_of_every_length() -> None:
    for size in range(1, 100):
        for text in ("1" * size, "-" + "1" * size, "1" * size + ".5", "0." + "1" * size, "1" * size + "e3"):
            assert end_of(text.encode() + b"," + b"1" * 40) == len(text)


NUMBERS = (
    st.integers(0, MAX_TIMESTAMP + 10) | st.integers(0, 10**30) | st.sampled_from((MAX_TIMESTAMP - 1, MAX_TIMESTAMP))
)


@settings(max_examples=300)
@given(NUMBERS, st.sampled_from((b"", b",", b"}", b"             ")))
def test_timestamps(number: int, behind: bytes) -> None:
    text = str(number).encode()
    data = memory(text + behind + b"\n")
    index, value = parse_timestamp(data.ctypes.data, 0, len(data) - 1)
    assert (index, value) == (len(text), number) if number < MAX_TIMESTAMP else index in (-1, 13)


@pytest.mark.parametrize("text", [b"", b"-1", b"01", b"00000000", b"0000000001", b"x1234567", b"1x"])
def test_what_is_no_timestamp(text: bytes) -> None:
    data = memory(text + b"         \n")
    index, _ = parse_timestamp(data.ctypes.data, 0, len(data) - 1)
    assert index == (1 if text == b"1x" else -1)
