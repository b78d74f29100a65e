"""The counts that decoding is checked against, by a plain reading."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.decoding import count_lines, last_comma
from tests import support


@pytest.mark.parametrize("way", support.DECODERS)
@given(text=st.lists(st.sampled_from([b" ", b"\t", b"\r", b"\n", b"\n", b"x", b"\0", b'"', b"\xff", b"y" * 70])))
def test_lines_that_are_not_blank(text: list[bytes], way: str) -> None:
    data = b"".join(text) + b"\n"
    with support.decoder(way):
        assert count_lines(data) == sum(1 for line in data.split(b"\n") if line.strip(b" \t\r"))


@pytest.mark.parametrize("way", support.DECODERS)
def test_a_blank_line_wherever_a_word_of_64_bytes_cuts_it(way: str) -> None:
    with support.decoder(way):
        for before in range(130):
            for blanks in (0, 1, 63, 64, 65, 200):
                assert count_lines(b"x" * before + b"\n" + b" \t\r\n" * blanks + b"y\n") == bool(before) + 1
                assert count_lines(b"x" * before + b" " * blanks + b"\n" + b" " * blanks + b"\n") == bool(before)


VALUES = st.recursive(
    st.none() | st.integers() | st.text(alphabet='a,"\\[]{}é') | st.booleans(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet=',"]}'), inner),
)


@pytest.mark.parametrize("way", support.DECODERS)
@pytest.mark.parametrize("indent", [None, 1])
@given(values=st.lists(VALUES, min_size=1))
def test_elements_of_an_array(values: list[object], indent: int | None, way: str) -> None:
    data = json.dumps(values, indent=indent)[1:-1].encode() + b"\n"
    with support.decoder(way):
        assert last_comma(data)[1] + 1 == len(values)
