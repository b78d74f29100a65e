"""Cuts a stream of JSON Lines or a JSON array into blocks of whole records, in bounded memory."""

import dataclasses
import itertools
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from pipeline.errors import InputError
from pipeline.formats.decoding import Block, Shape, last_comma
from pipeline.formats.strict_json import WHITE_SPACE
from pipeline.schema import RAW_BYTES

BLOCK_BYTES = 4 * 1024 * 1024
"""Bytes of a block. Below 1 MiB decoding threads wait for the interpreter lock; above 4 MiB only memory grows."""

MAX_RECORD_BYTES = 64 * 1024 * 1024
"""A longer line is a reject, a longer array element an error of the source. Bounds the memory of a reader."""

HEAD_BYTES = 64 * 1024
"""Bytes at the start of a source from which its format and shape are detected."""

_ARRAY = re.compile(rb'(?:\xef\xbb\xbf)?[ \t\r\n]*(\[|(\{)[ \t\r\n]*"mock_for_test"[ \t\r\n]*:[ \t\r\n]*\[)')
_NEWLINE, _BRACKET = b"\n]"


def is_array(head: bytes) -> bool:
    """Whether a source begins as a JSON array or `{"mock_for_test": [...]}`, not as JSON Lines."""
    return _ARRAY.match(head) is not None


def buffer_head(stream: BinaryIO) -> "_Buffer":
    """Reads a stream up to the first HEAD_BYTES that are not only white space, perhaps after a byte order mark."""
    buffer, mark = _Buffer(stream), BOM_UTF8
    while not buffer.fill(HEAD_BYTES + 1).ended and not buffer.head.removeprefix(mark).strip(WHITE_SPACE):
        buffer.skip(HEAD_BYTES)
        mark = b""
    return buffer


class _Buffer:
    """Bytes read from a stream that are in no block yet. Blocks are views of this memory, so bytes are copied once.

    Attributes:
      buffered: these bytes.
      offset: offset of the first buffered byte in the stream.
      ended: whether the stream was read to its end.
    """

    def __init__(self, stream: BinaryIO, offset: int = 0) -> None:
        self._stream = stream
        self.offset = offset
        self.buffered = memoryview(b"")
        self.ended = False
        self._skipped = 0

    def fill(self, count: int) -> "_Buffer":
        """Reads until at least count bytes are buffered or the stream ends. (Buckets may return fewer.)"""
        have = len(self.buffered)
        if have >= count or self.ended:
            return self
        grown = np.empty(count, dtype=np.uint8).data
        grown[:have] = self.buffered
        while have < count and (got := self._stream.readinto(grown[have:])):  # type: ignore[attr-defined]
            have += got
        self.ended = have < count
        self.buffered = grown[:have]
        return self

    @property
    def head(self) -> bytes:
        """The next bytes, at most HEAD_BYTES."""
        return bytes(self.buffered[:HEAD_BYTES])

    def take(self, count: int) -> memoryview:
        """Removes and returns the next count bytes."""
        taken, self.buffered = self.buffered[:count], self.buffered[count:]
        self.offset += count
        return taken

    def skip(self, count: int) -> None:
        """Skips the next count bytes, which become the prefix_bytes of the next block."""
        self.take(count)
        self._skipped += count

    def take_skipped(self) -> int:
        """Returns the number of bytes skipped since the last call."""
        count, self._skipped = self._skipped, 0
        return count

    def find_newline(self, at: int) -> int:
        """Returns the index of the first buffered newline at or after index at, or -1."""
        for begin in range(max(at, 0), len(self.buffered), HEAD_BYTES):
            found = bytes(self.buffered[begin : begin + HEAD_BYTES]).find(b"\n")
            if found >= 0:
                return begin + found
        return -1


def read_blocks(
    stream: BinaryIO, source: str, block_bytes: int = BLOCK_BYTES, buffer: "_Buffer | None" = None
) -> Iterator[Block]:
    """Yields the blocks of a whole stream, whose shape is detected from its first bytes.

    Args:
      stream: binary stream.
      source: name of the source, for rejects and errors.
      block_bytes: approximate size of a block.
      buffer: result of buffer_head(stream), if already called; default: call it.

    Raises:
      InputError: an array is truncated, or followed by other data.
    """
    buffer = buffer or buffer_head(stream)
    opening = _ARRAY.match(buffer.head)
    if opening:
        buffer.skip(opening.end())
        return _array_blocks(buffer, source, block_bytes, in_object=opening.group(2) is not None)
    reader = LineReader(stream, source, block_bytes, buffer)
    splits = itertools.takewhile(lambda _: not reader.at_end, itertools.count())
    return itertools.chain.from_iterable(map(reader.read_split, splits))


class LineReader:
    """Reads JSON Lines by splits: split k has the lines whose first byte is in [k, k + 1) x split_bytes of the stream.

    So workers can share the splits in any way, and each line is read once. Consecutive splits are read without seeking;
    a stream that cannot seek must be read in order, starting at split 0.
    """

    def __init__(
        self, stream: BinaryIO, source: str, split_bytes: int = BLOCK_BYTES, buffer: _Buffer | None = None
    ) -> None:
        self._stream, self._source, self._split_bytes = stream, source, split_bytes
        self._buffer = buffer or _Buffer(stream)
        self._skipping = False  # inside a line that belongs to an earlier split
        self._next = 0

    @property
    def at_end(self) -> bool:
        """Whether every byte of the stream was read."""
        return self._buffer.ended and not self._buffer.buffered

    @property
    def bytes_read(self) -> int:
        """Bytes of the stream that were read."""
        return self.next_offset + len(self._buffer.buffered)

    @property
    def next_offset(self) -> int:
        """Offset in bytes of the first line that is in no block yet."""
        return self._buffer.offset

    def read_split(self, split: int) -> Iterator[Block]:
        """Yields the lines of a split: one block, more if a line is too long, or none."""
        if split != self._next:
            self._seek(split)
        self._next = split + 1
        limit = (split + 1) * self._split_bytes
        while self._buffer.offset < limit and not self.at_end:
            if self._skipping:
                self._skip_line()
            else:
                yield from self._take_lines(limit)

    def _seek(self, split: int) -> None:
        """Seeks to the first line of a split: after the first newline at or after the byte before the split."""
        start = max(split * self._split_bytes - 1, 0)
        self._stream.seek(start)
        self._buffer = _Buffer(self._stream, start)
        self._skipping = split > 0

    def _skip_line(self) -> None:
        buffer = self._buffer
        if not buffer.buffered:
            buffer.fill(self._split_bytes + HEAD_BYTES)
        newline = buffer.find_newline(0)
        self._skipping = newline < 0
        buffer.take(newline + 1 or len(buffer.buffered))

    def _take_lines(self, limit: int) -> Iterator[Block]:
        """Yields the lines that begin before limit; the last one may end after it."""
        buffer = self._buffer
        searched = limit - 1 - buffer.offset
        wanted = searched + HEAD_BYTES  # usually includes the end of the last line
        while (newline := buffer.fill(wanted).find_newline(searched)) < 0 and not buffer.ended:
            if wanted > searched + MAX_RECORD_BYTES:
                break
            wanted *= 2
        end = newline if newline >= 0 else len(buffer.buffered)
        if end > searched + MAX_RECORD_BYTES - self._split_bytes:  # the last line may be too long
            begin = bytes(buffer.buffered[: max(searched, 0)]).rfind(b"\n") + 1
            if end - begin > MAX_RECORD_BYTES:
                yield from self._cut_long_line(begin)
                return
        if buffer.buffered:
            yield self._block(min(end + 1, len(buffer.buffered)))

    def _cut_long_line(self, begin: int) -> Iterator[Block]:
        """Yields the lines before begin and the first bytes of the line there, which is too long; skips the rest."""
        if begin:
            yield self._block(begin)
        start, head = self._buffer.offset, bytes(self._buffer.buffered[:RAW_BYTES])
        self._skipping = True
        while self._skipping and not self.at_end:
            self._skip_line()
        suffix_bytes = self._buffer.offset - start - len(head)
        yield Block(head, Shape.TOO_LONG, self._source, start, suffix_bytes=suffix_bytes)

    def _block(self, count: int) -> Block:
        offset, prefix, suffix = self._buffer.offset, self._buffer.take_skipped(), 0
        data = self._buffer.take(count)
        if offset == 0 and bytes(data[: len(BOM_UTF8)]) == BOM_UTF8:
            data, offset, prefix = data[len(BOM_UTF8) :], len(BOM_UTF8), len(BOM_UTF8)
        if bytes(data[-1:]) != b"\n":
            data, suffix = memoryview(bytes(data) + b"\n"), -1
        return Block(data, Shape.LINES, self._source, offset, prefix_bytes=prefix, suffix_bytes=suffix)


def _array_blocks(buffer: _Buffer, source: str, block_bytes: int, in_object: bool) -> Iterator[Block]:
    """Yields blocks of whole elements. Only finds the commas between them and the array's end; nothing is parsed.

    in_object: whether the array is the value of `{"mock_for_test": [...]}`.
    """
    index, wanted = 0, block_bytes
    while True:
        cut, count, end = last_comma(buffer.fill(wanted + 1).buffered)
        if end >= 0:
            break
        if buffer.ended:
            raise _truncated(buffer, source)
        if cut >= 0:
            wanted = block_bytes
            yield _elements(buffer, cut, source, index, count)
            index += count
        elif len(buffer.buffered) > MAX_RECORD_BYTES:
            raise InputError(f"{source}: byte {buffer.offset}: array element exceeds the {MAX_RECORD_BYTES}-byte limit")
        else:
            wanted = min(2 * wanted, MAX_RECORD_BYTES)
    if buffer.buffered[end] != _BRACKET:
        raise InputError(f"{source}: byte {buffer.offset + end}: not JSON: the array has a stray brace")
    last = _elements(buffer, end, source, index, count + 1)
    if not index and not bytes(last.data).strip(WHITE_SPACE):
        last = dataclasses.replace(last, shape=Shape.LINES, records=0)  # an empty array is read as a blank line
    yield dataclasses.replace(last, suffix_bytes=_skip_tail(buffer, source, in_object))


def _elements(buffer: _Buffer, size: int, source: str, index: int, records: int) -> Block:
    """Returns the next size bytes as a block. Replaces the comma or bracket after them with a newline."""
    offset, prefix = buffer.offset, buffer.take_skipped()
    data = buffer.take(size + 1)
    data[-1] = _NEWLINE
    return Block(data, Shape.ELEMENTS, source, offset, index, records=records, prefix_bytes=prefix)


def _skip_tail(buffer: _Buffer, source: str, in_object: bool) -> int:
    """Skips the bytes after the array, white space and the brace of its object; returns their number."""
    start = buffer.offset
    while buffer.fill(HEAD_BYTES).buffered:
        head = buffer.head
        rest = head.lstrip(WHITE_SPACE)
        if in_object and rest[:1] == b"}":
            in_object, rest = False, rest[1:].lstrip(WHITE_SPACE)
        buffer.take(len(head) - len(rest))
        if rest:
            break
    if buffer.buffered:
        raise InputError(f"{source}: byte {buffer.offset}: {_after_array(bytes(buffer.buffered[:1]))}")
    if in_object:
        raise _truncated(buffer, source)
    return buffer.offset - start


def _truncated(buffer: _Buffer, source: str) -> InputError:
    return InputError(f"{source}: byte {buffer.offset + len(buffer.buffered)}: JSON array is truncated")


def _after_array(byte: bytes) -> str:
    """Returns the error message for an array that this byte follows."""
    if byte in (b"[", b"{"):
        return "extra JSON document after the array; use one array or one record per line"
    if byte == b"\x1a":
        return "unexpected Ctrl-Z (0x1A, DOS end-of-file) after the array"
    return "unexpected data after the array"
