"""Lines and records of offsets, against a count over all bytes."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats import readers
from pipeline.formats.readers import line_numbers


@given(st.lists(st.sampled_from([b"", b"  ", b"{}", b"\r", b"x" * 9]), max_size=9), st.booleans(), st.data())
def test_lines_and_records_of_offsets(lines: list[bytes], bom: bool, data: st.DataObject) -> None:
    text = (b"\xef\xbb\xbf" if bom else b"") + b"\n".join(lines)
    starts = [text.index(line, sum(map(len, lines[:k])) + k) for k, line in enumerate(lines) if line.strip()]
    asked = sorted(data.draw(st.lists(st.sampled_from(starts), unique=True))) if starts else []
    expected = [
        (
            text[:at].count(b"\n") + 1,
            sum(bool(x.strip()) for x in text[:at].removeprefix(b"\xef\xbb\xbf").split(b"\n")[:-1]),
        )
        for at in asked
    ]
    assert list(line_numbers(io.BytesIO(text), asked)) == expected


def test_long_lines_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_CHUNK_BYTES", 4)
    assert list(line_numbers(io.BytesIO(b"123456789\n\nx\n"), [11])) == [(3, 1)]
