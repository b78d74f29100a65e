"""Finds line and record numbers of byte offsets: readers of a split know only offsets."""

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from pipeline.formats.strict_json import WHITE_SPACE

_CHUNK_BYTES = 1024 * 1024  # read at a time: a line may be the whole stream


def line_numbers(stream: BinaryIO, offsets: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yields for each offset in JSON Lines its line number, from 1 on, and the number of records before it.

    stream: decompressed, read up to the last offset. offsets: bytes, ascending.
    """
    waiting = list(offsets)[::-1]
    line, index, at, is_record = 1, 0, 0, False
    while waiting and (chunk := stream.readline(_CHUNK_BYTES)):
        start, at = at, at + len(chunk)
        while waiting and waiting[-1] < at:
            waiting.pop()
            yield line, index
        is_record = is_record or bool((chunk.removeprefix(BOM_UTF8) if start == 0 else chunk).strip(WHITE_SPACE))
        if chunk.endswith(b"\n"):
            line, index, is_record = line + 1, index + is_record, False
