"""Cutting a stream of bytes into blocks of whole records, whatever the shape, in bounded memory."""

import re
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from pipeline.decoding import Block, Shape
from pipeline.errors import InputError

BLOCK_BYTES = 4 * 1024 * 1024
"""Bytes of a block. Below 1 MiB the decoding threads wait for the interpreter lock; above, memory grows for nothing."""

MAX_RECORD_BYTES = 64 * 1024 * 1024
"""A longer line is a reject, a longer array element an error of its source: what bounds the memory of a reader."""

HEAD_BYTES = 64 * 1024
"""Bytes at the start of a source that tell its shape."""

_ARRAY = re.compile(rb'(?:\xef\xbb\xbf)?[ \t\r\n]*(\[|(\{)[ \t\r\n]*"mock_for_test"[ \t\r\n]*:[ \t\r\n]*\[)')
_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"


def is_array(head: bytes) -> bool:
    """Whether a source that begins so is a JSON array or `{"mock_for_test": [...]}`, not JSON Lines."""
    return _ARRAY.match(head) is not None


def read_blocks(stream: BinaryIO, source: str, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """The blocks of a whole stream, its shape told from its first bytes.

    Raises:
      InputError: the array breaks off, or is followed by something else.
    """
    head = read_up_to(stream, HEAD_BYTES)
    if is_array(head):
        return _array_blocks(stream, head, source, block_bytes)
    return _line_blocks(LineReader(stream, source, block_bytes, head))


def read_up_to(stream: BinaryIO, count: int) -> bytes:
    """count bytes, fewer only at the end of the stream (a read from a bucket may return less than was asked for)."""
    data = stream.read(count)
    if not data or len(data) == count:
        return data
    pieces = [data]
    while data and (count := count - len(data)):
        data = stream.read(count)
        pieces.append(data)
    return b"".join(pieces)


def _line_blocks(reader: "LineReader") -> Iterator[Block]:
    cell = 0
    while not reader.at_end:
        yield from reader.read_cell(cell)
        cell += 1


class LineReader:
    """Reads JSON Lines by cells: cell k has the lines whose first byte is in [k, k + 1) x cell_bytes of the stream.

    So any set of cells can be read by anybody, and each line is read once. Cells read in ascending order without a
    gap need no seek, and a stream that cannot seek starts with cell 0.
    """

    def __init__(self, stream: BinaryIO, source: str, cell_bytes: int = BLOCK_BYTES, head: bytes = b"") -> None:
        self._stream, self._source, self._cell_bytes = stream, source, cell_bytes
        self._buffer = head  # unread bytes, from _start on
        self._start = 0
        self._skipping = False  # inside a line that belongs to an earlier cell, or is too long
        self._ended = False
        self._next = 0

    @property
    def at_end(self) -> bool:
        """Whether every byte of the stream was read."""
        return self._ended and not self._buffer

    @property
    def position(self) -> int:
        """Bytes of the stream that were read."""
        return self._start + len(self._buffer)

    def read_cell(self, cell: int) -> Iterator[Block]:
        """The lines of a cell: one block, or two where a line is too long, or none."""
        if cell != self._next:
            self._seek(cell)
        self._next = cell + 1
        limit = (cell + 1) * self._cell_bytes
        while self._start < limit and not self.at_end:
            if self._skipping:
                self._skip_line()
            else:
                yield from self._take_lines(limit)

    def _seek(self, cell: int) -> None:
        """To the first line of a cell: the one after the first newline from a byte before the cell."""
        self._start = cell * self._cell_bytes - 1
        self._stream.seek(self._start)
        self._buffer, self._ended, self._skipping = b"", False, True

    def _fill(self) -> None:
        more = read_up_to(self._stream, self._cell_bytes)
        self._ended = not more
        self._buffer = self._buffer + more if self._buffer else more

    def _skip_line(self) -> None:
        newline = self._buffer.find(b"\n")
        self._skipping = newline < 0 and not self._ended
        self._drop(newline + 1 or len(self._buffer))
        if self._skipping:
            self._fill()

    def _drop(self, count: int) -> None:
        self._buffer = self._buffer[count:]
        self._start += count

    def _take_lines(self, limit: int) -> Iterator[Block]:
        """The lines that begin before limit; the last one may end after it."""
        searched = limit - 1 - self._start
        while (newline := self._buffer.find(b"\n", searched)) < 0 and not self._ended:
            searched = max(searched, len(self._buffer))
            if searched > limit - self._start + MAX_RECORD_BYTES:
                yield from self._cut_long_line()
                return
            self._fill()
        count = newline + 1 or len(self._buffer)
        if count:
            yield self._block(self._buffer[:count])
        self._drop(count)

    def _cut_long_line(self) -> Iterator[Block]:
        """The buffer's last line is too long: what is before it, then its beginning; the rest is skipped."""
        begin = self._buffer.rfind(b"\n") + 1
        if begin:
            yield self._block(self._buffer[:begin])
        yield Block(self._buffer[begin : begin + 4096], Shape.TOO_LONG, self._source, self._start + begin)
        self._drop(len(self._buffer))
        self._skipping = True

    def _block(self, data: bytes) -> Block:
        offset = self._start
        if offset == 0 and data.startswith(_BOM):
            data, offset = data[len(_BOM) :], len(_BOM)
        return Block(data if data.endswith(b"\n") else data + b"\n", Shape.LINES, self._source, offset)


def _array_blocks(stream: BinaryIO, head: bytes, source: str, block_bytes: int) -> Iterator[Block]:
    """Blocks of elements cut at commas; only the last comma of a chunk is looked for, nothing is parsed here."""
    opening = _ARRAY.match(head)
    assert opening is not None
    start = opening.end()
    buffer, index, wanted = head[start:], 0, block_bytes
    while more := read_up_to(stream, max(wanted - len(buffer), HEAD_BYTES)):
        buffer += more
        if len(buffer) < wanted:
            continue
        cut, count = _last_comma(buffer)
        if cut < 0 and len(buffer) > MAX_RECORD_BYTES:
            raise InputError(f"{source}: byte {start}: an array element is longer than {MAX_RECORD_BYTES} bytes")
        wanted = block_bytes if cut >= 0 else 2 * wanted
        if cut >= 0:
            yield Block(buffer[:cut] + b"\n", Shape.ELEMENTS, source, start, index)
            start, index, buffer = start + cut + 1, index + count, buffer[cut + 1 :]
    last = _without_closing(buffer, opening.group(2) is not None, source, start)
    if last.strip(_SPACE) or index:
        yield Block(last + b"\n", Shape.ELEMENTS, source, start, index)


def _last_comma(buffer: bytes) -> tuple[int, int]:
    from pipeline import scanner

    cut, count = scanner.last_comma(np.frombuffer(buffer, dtype=np.uint8))
    return int(cut), int(count)


def _without_closing(buffer: bytes, in_object: bool, source: str, start: int) -> bytes:
    """The last elements without the brackets that must close them."""
    rest = buffer.rstrip(_SPACE)
    for closing in (b"}", b"]") if in_object else (b"]",):
        if not rest.endswith(closing):
            at = start + len(rest)
            raise InputError(f"{source}: byte {at}: the array breaks off, or something stands after it")
        rest = rest[:-1].rstrip(_SPACE)
    return rest
