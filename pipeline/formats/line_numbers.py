"""Finds line and record numbers of byte offsets. Readers know offsets only: they may begin in the middle of a file."""

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from pipeline.formats.strict_json import WHITE_SPACE

_PIECE_BYTES = 1024 * 1024  # of a line at a time: one may be the whole stream


def line_numbers(stream: BinaryIO, offsets: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yields for each offset in JSON Lines its line, from 1 on, and how many records are before it.

    stream: decompressed, read up to the last offset. offsets: bytes, ascending.
    """
    waiting = list(offsets)[::-1]
    line, index, at, is_record = 1, 0, 0, False
    while waiting and (piece := stream.readline(_PIECE_BYTES)):
        start, at = at, at + len(piece)
        while waiting and waiting[-1] < at:
            waiting.pop()
            yield line, index
        is_record = is_record or bool((piece.removeprefix(BOM_UTF8) if start == 0 else piece).strip(WHITE_SPACE))
        if piece.endswith(b"\n"):
            line, index, is_record = line + 1, index + is_record, False
