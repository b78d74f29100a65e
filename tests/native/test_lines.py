"""Lines counted 64 bytes at a time: what a word cuts in two is counted once."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.native.loader import invoke


def counted(data: bytes) -> int:
    return invoke("count_lines", np.frombuffer(data, np.uint8), 1, len(data))


def test_a_blank_line_wherever_a_word_cuts_it() -> None:
    for before in range(130):
        for blanks in (0, 1, 63, 64, 65, 200):
            assert counted(b"x" * before + b"\n" + b" \t\r\n" * blanks + b"y\n") == bool(before) + 1
            assert counted(b"x" * before + b" " * blanks + b"\n" + b" " * blanks + b"\n") == bool(before)


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from((b"", b" ", b"\r", b"\t" * 70, b"x", b" x", b"x ", b"\0", b"\x0b", b"y" * 64)), max_size=60
    )
)
def test_any_lines(lines: list[bytes]) -> None:
    assert counted(b"\n".join(lines) + b"\n") == sum(bool(line.strip(b" \t\r")) for line in lines)


@given(st.lists(st.sampled_from((b"", b" ", b"x", b"y \r", b"z" * 100)), max_size=40), st.data())
def test_parts_add_up(lines: list[bytes], draw: st.DataObject) -> None:
    data = b"\n".join(lines) + b"\n"
    cut = draw.draw(st.integers(1, len(data)))
    array = np.frombuffer(data, np.uint8)
    parts = invoke("count_lines", array, 1, cut) + invoke("count_lines", array, cut, len(data))
    assert parts == counted(data)
