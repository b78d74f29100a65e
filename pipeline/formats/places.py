"""Line and record numbers of byte offsets: readers know offsets alone, for they may begin in the middle of a file."""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

_SPACE = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_PIECE_BYTES = 1024 * 1024  # of a line at a time: one may be the whole stream


def places(stream: BinaryIO, offsets: Iterable[int]) -> Iterator[tuple[int, int]]:
    """For each offset in JSON Lines its line, from 1 on, and how many records are before it.

    stream: decompressed, read up to the last offset. offsets: bytes, ascending.
    """
    waiting = list(offsets)[::-1]
    line, index, at, is_record = 1, 0, 0, False
    while waiting and (piece := stream.readline(_PIECE_BYTES)):
        start, at = at, at + len(piece)
        while waiting and waiting[-1] < at:
            waiting.pop()
            yield line, index
        is_record = is_record or bool((piece.removeprefix(_BOM) if start == 0 else piece).strip(_SPACE))
        if piece.endswith(b"\n"):
            line, index, is_record = line + 1, index + is_record, False
