"""Strict JSON values of any kind: where they end, against Python's json; timestamps in their range."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.native import values
from pipeline.schema import MAX_TIMESTAMP
from tests import documents
from tests.native_support import callable_from_python, memory

value_end, timestamp = map(callable_from_python, (values.value_end, values.timestamp))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
)


def end_of(text: bytes, newlines: bool = True) -> int:
    data = memory(text + b"\n")
    return int(value_end(data.ctypes.data, 0, len(text), newlines))


@settings(max_examples=400)
@given(VALUES, st.sampled_from((None, 1)), st.sampled_from((b"", b",", b" ,1", b"]", b"}")))
def test_what_python_writes(value: object, indent: int | None, behind: bytes) -> None:
    text = json.dumps(value, indent=indent).encode()
    assert end_of(text + behind) == len(text)
    if isinstance(value, (dict, list)):
        assert all(end_of(text[:cut]) == -1 for cut in range(len(text)))
        assert end_of(text, newlines=False) == (-1 if b"\n" in text else len(text))


@pytest.mark.parametrize("text", documents.NOT_JSON, ids=lambda text: text[:20])
def test_what_is_not_json(text: str) -> None:
    for wrapped in (f'{{"a":{text}}}', f"[1,{text}]", f'[[{{"a":[1,{text}]}}]]'):
        assert end_of(wrapped.encode()) == -1


@pytest.mark.parametrize("pair", [(b"[", b"]"), (b'{"a":', b"}")])
def test_the_limit_of_nesting(pair: tuple[bytes, bytes]) -> None:
    for depth, taken in ((29, True), (30, True), (31, False), (1000, False)):
        text = pair[0] * depth + b"1" + pair[1] * depth
        assert end_of(text) == (len(text) if taken else -1)


NUMBERS = (
    st.integers(0, MAX_TIMESTAMP + 10) | st.integers(0, 10**30) | st.sampled_from((MAX_TIMESTAMP - 1, MAX_TIMESTAMP))
)


@settings(max_examples=300)
@given(NUMBERS, st.sampled_from((b"", b",", b"}", b"             ")))
def test_timestamps(number: int, behind: bytes) -> None:
    text = str(number).encode()
    data = memory(text + behind + b"\n")
    index, value = timestamp(data.ctypes.data, 0, len(data) - 1)
    assert (index, value) == (len(text), number) if number < MAX_TIMESTAMP else index in (-1, 13)


@pytest.mark.parametrize("text", [b"", b"-1", b"01", b"00000000", b"x1234567", b"1x"])
def test_what_is_no_timestamp(text: bytes) -> None:
    data = memory(text + b"         \n")
    index, _ = timestamp(data.ctypes.data, 0, len(data) - 1)
    assert index == (1 if text == b"1x" else -1)
