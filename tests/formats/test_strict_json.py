"""Strict JSON: what RFC 8259 allows, and the reason where a text is not JSON."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import EventError
from pipeline.formats.strict_json import MAX_DEPTH, NotJsonError, parse

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
)


@given(VALUES, st.booleans())
def test_what_python_writes_is_read_back(value: Any, escaped: bool) -> None:
    assert parse(json.dumps(value, ensure_ascii=escaped).encode()) == value


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "Expecting value at character 0"),
        (b"[1] x", "Extra data at character 4"),
        (b'{"a": 1,}', f"at character {8 if sys.version_info < (3, 13) else 7} of"),  # 3.13 says where the comma is
        (b"{", "truncated at character 1 of the record"),
        (b'{"a": ', "truncated at character 6"),
        (b'{"a": "b', "truncated at character 8"),
        (b"[NaN]", "NaN is not JSON"),
        (b"-Infinity", "-Infinity is not JSON"),
        (b'"\xff"', "invalid UTF-8 at byte 1"),
        (b'"\xed\xa0\x80"', "invalid UTF-8 at byte 1"),
        (rb'["\ud800"]', "a lone surrogate in a string"),
        (rb'{"a": "\udc00", "a": 1}', "a lone surrogate in a string"),
        (b"'a'", "Expecting value"),
    ],
)
def test_what_is_not_json(raw: bytes, reason: str) -> None:
    with pytest.raises(NotJsonError, match=reason):
        parse(raw)


def test_the_limit_of_nesting() -> None:
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    assert parse(b"[[]," + b"[" * (MAX_DEPTH - 1) + b"]" * MAX_DEPTH)  # more brackets than levels
    with pytest.raises(NotJsonError, match=f"nested deeper than {MAX_DEPTH} levels"):
        parse(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))
    assert parse(b'["' + b"[" * 1000 + b'"]') == ["[" * 1000]


@pytest.mark.parametrize(
    ("digits", "value"),
    [(b"9" * 5000, 2**64), (b"-" + b"9" * 5000, -(2**64)), (b"-0", 0), (b"1e2", 100.0), (b"9" * 19, 10**19 - 1)],
)
def test_numbers_of_any_length(digits: bytes, value: float) -> None:
    found = parse(digits)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("name", ["id", "event", "timestamp"])
def test_the_name_of_a_field_stands_once_in_a_record(name: str) -> None:
    twice = f'{{"{name}": 1, "{name}": 1}}'.encode()
    with pytest.raises(EventError, match=f"duplicate key '{name}'"):
        parse(twice)
    assert parse(b'{"more": %s}' % twice) == {"more": {name: 1}}
    assert parse(b'{"a": 1, "a": 2}') == {"a": 2}
