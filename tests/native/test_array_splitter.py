"""Cutting arrays: the compiled search for their commas against plain Python's."""

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.formats.decoding import last_comma
from tests.documents import ARRAYS
from tests.support import BROKEN, DECODERS, decoder, expected

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


def check(data: bytes) -> None:
    found = []
    for name in DECODERS:
        with decoder(name):
            found.append(last_comma(data))
    assert found[0] == found[1]


@settings(max_examples=1000)
@given(_TEXTS | _ELEMENTS, st.integers(0, 70))
def test_any_text_cut_anywhere(text: str, cut: int) -> None:
    data = text.encode()
    for piece in (data, data[: max(len(data) - cut, 0)], data[:64], data[:128]):
        check(piece)


@settings(max_examples=300)
@given(ARRAYS)
def test_arrays(data: bytes) -> None:
    assume(expected(data) != BROKEN)  # outside of strings a backslash may mean anything
    check(data.partition(b"[")[2])
