"""Strict JSON strings: where they end, and what they say, against Python's json."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.native import strings
from tests.native_support import callable_from_python, memory

after_string, string_end, skip_string, unescape = map(
    callable_from_python, (strings.after_string, strings.string_end, strings.skip_string, strings.unescape)
)
TEXTS = st.text(max_size=80) | st.text(st.sampled_from('a"\\/\n\t\b\f\r\x00é€😀\u2028'), max_size=80)


@settings(max_examples=400)
@given(TEXTS, st.booleans(), st.sampled_from((b"", b",", b'"a"', b"\xff")))
def test_what_python_writes(text: str, ascii_only: bool, behind: bytes) -> None:
    literal = json.dumps(text, ensure_ascii=ascii_only).encode()
    data = memory(literal + behind + b"\n")
    address, end = data.ctypes.data, len(data) - 1
    assert string_end(address, 1, end) == (len(literal) - 1, b"\\" in literal)
    assert skip_string(address, 0, end) == after_string(address, 1, end) == len(literal)
    said = memory(bytes(len(literal)))
    assert said[: unescape(address, 1, len(literal) - 1, said.ctypes.data, 0)].tobytes() == text.encode()


BAD = [
    *(b"\x00", b"\x1f", b"\n", b"\\x", b"\\u12g4", b"\\u123"),
    *(b"\\ud800", b"\\udc00", b"\\ud800\\u0041", b"\\ud800\\ud800"),
    *(b"\x80", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80"),
    *(b"\xf5", b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xc3(", b"\xe2\x82("),
]


@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_what_is_no_string_wherever_it_stands(bad: bytes) -> None:
    for before in range(70):
        data = memory(b'"' + b"x" * before + bad + b'"\n')
        assert string_end(data.ctypes.data, 1, len(data) - 1)[0] == -1
        assert after_string(data.ctypes.data, 1, len(data) - 1) == -1


@pytest.mark.parametrize("text", [b'"', b'"abc', b'"\\"', b'"' + b"x" * 99])
def test_a_string_that_is_open(text: bytes) -> None:
    data = memory(text + b"\n")
    assert string_end(data.ctypes.data, 1, len(text))[0] == -1
    assert skip_string(data.ctypes.data, 0, len(text)) >= len(text)
