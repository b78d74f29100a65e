"""Cuts a stream of JSON Lines or a JSON array into blocks of whole records, in bounded memory."""

import dataclasses
import itertools
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from pipeline.errors import InputError
from pipeline.formats.decoding import Block, Shape
from pipeline.formats.strict_json import TOKEN, WHITE_SPACE
from pipeline.native import loader as native
from pipeline.schema import RAW_BYTES

BLOCK_BYTES = 4 * 1024 * 1024
"""Bytes of a block. Below 1 MiB decoding threads wait for the interpreter lock; above 4 MiB only memory grows."""

MAX_RECORD_BYTES = 64 * 1024 * 1024
"""A longer line is a reject, a longer array element an error of its source. This bounds a reader's memory."""

HEAD_BYTES = 64 * 1024
"""Bytes at the start of a source that tell its shape."""

_ARRAY = re.compile(rb'(?:\xef\xbb\xbf)?[ \t\r\n]*(\[|(\{)[ \t\r\n]*"mock_for_test"[ \t\r\n]*:[ \t\r\n]*\[)')
_NEWLINE = 10


def is_array(head: bytes) -> bool:
    """Whether a source's first bytes are those of a JSON array or `{"mock_for_test": [...]}`, not of JSON Lines."""
    return _ARRAY.match(head) is not None


def head_of(stream: BinaryIO) -> "_Buffer":
    """A stream read up to its first HEAD_BYTES that are not all white space, which tell its shape."""
    buffer = _Buffer(stream)
    while not buffer.fill(HEAD_BYTES + 1).ended and not buffer.head.strip(WHITE_SPACE):
        buffer.skip(HEAD_BYTES)
    return buffer


class _Buffer:
    """Bytes of a stream that are read and in no block yet. Blocks are views of its memory, so bytes are copied once."""

    def __init__(self, stream: BinaryIO, start: int = 0) -> None:
        self._stream = stream
        self.start = start  # bytes of the stream before rest
        self.rest = memoryview(b"")
        self.ended = False
        self._skipped = 0

    def fill(self, count: int) -> "_Buffer":
        """Reads until rest has count bytes or the stream ends. (A bucket may return fewer bytes than asked for.)"""
        have = len(self.rest)
        if have >= count or self.ended:
            return self
        grown = np.empty(count, dtype=np.uint8).data
        grown[:have] = self.rest
        while have < count and (got := self._stream.readinto(grown[have:])):  # type: ignore[attr-defined]
            have += got
        self.ended = have < count
        self.rest = grown[:have]
        return self

    @property
    def head(self) -> bytes:
        """The next bytes, HEAD_BYTES at most."""
        return bytes(self.rest[:HEAD_BYTES])

    def take(self, count: int) -> memoryview:
        """The next count bytes."""
        taken, self.rest = self.rest[:count], self.rest[count:]
        self.start += count
        return taken

    def skip(self, count: int) -> None:
        """Passes over the next count bytes, which count as part of the block that follows them."""
        self.take(count)
        self._skipped += count

    def skipped(self) -> int:
        """How many bytes were skipped since the last call."""
        count, self._skipped = self._skipped, 0
        return count

    def find_newline(self, at: int) -> int:
        """Index of the first newline in rest from index at on, or -1."""
        for begin in range(max(at, 0), len(self.rest), HEAD_BYTES):
            found = bytes(self.rest[begin : begin + HEAD_BYTES]).find(b"\n")
            if found >= 0:
                return begin + found
        return -1


def read_blocks(
    stream: BinaryIO, source: str, block_bytes: int = BLOCK_BYTES, head: "_Buffer | None" = None
) -> Iterator[Block]:
    """The blocks of a whole stream, its shape told from its first bytes. head: head_of(stream), if it was called.

    Raises:
      InputError: the array breaks off, or is followed by something else.
    """
    buffer = head or head_of(stream)
    opening = _ARRAY.match(buffer.head)
    if opening:
        buffer.skip(opening.end())
        return _array_blocks(buffer, source, block_bytes, in_object=opening.group(2) is not None)
    reader = LineReader(stream, source, block_bytes, buffer)
    splits = itertools.takewhile(lambda _: not reader.at_end, itertools.count())
    return itertools.chain.from_iterable(map(reader.read_split, splits))


class LineReader:
    """Reads JSON Lines by splits: split k has the lines whose first byte is in [k, k + 1) x split_bytes of the stream.

    So workers can share the splits in any way, and each line is read once. Splits in ascending order without a gap are
    read without seeking, which a stream that cannot seek needs, from split 0 on.
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
        return self._buffer.ended and not self._buffer.rest

    @property
    def position(self) -> int:
        """How many bytes of the stream were read."""
        return self.stop + len(self._buffer.rest)

    @property
    def stop(self) -> int:
        """Offset in bytes of the first line that is in no block yet."""
        return self._buffer.start

    def read_split(self, split: int) -> Iterator[Block]:
        """The lines of a split: one block, or more where a line is too long, or none."""
        if split != self._next:
            self._seek(split)
        self._next = split + 1
        limit = (split + 1) * self._split_bytes
        while self._buffer.start < limit and not self.at_end:
            if self._skipping:
                self._skip_line()
            else:
                yield from self._take_lines(limit)

    def _seek(self, split: int) -> None:
        """Goes to the first line of a split: the one after the first newline from the byte before the split on."""
        start = max(split * self._split_bytes - 1, 0)
        self._stream.seek(start)
        self._buffer = _Buffer(self._stream, start)
        self._skipping = split > 0

    def _skip_line(self) -> None:
        buffer = self._buffer
        if not buffer.rest:
            buffer.fill(self._split_bytes + HEAD_BYTES)
        newline = buffer.find_newline(0)
        self._skipping = newline < 0
        buffer.take(newline + 1 or len(buffer.rest))

    def _take_lines(self, limit: int) -> Iterator[Block]:
        """The lines that begin before limit; the last one may end after it."""
        buffer = self._buffer
        searched = limit - 1 - buffer.start
        wanted = searched + HEAD_BYTES  # mostly enough for the end of the last line
        while (newline := buffer.fill(wanted).find_newline(searched)) < 0 and not buffer.ended:
            if wanted > searched + MAX_RECORD_BYTES:
                break
            wanted *= 2
        end = newline if newline >= 0 else len(buffer.rest)
        if end > searched + MAX_RECORD_BYTES - self._split_bytes:  # the last line may be too long
            begin = bytes(buffer.rest[: max(searched, 0)]).rfind(b"\n") + 1
            if end - begin > MAX_RECORD_BYTES:
                yield from self._cut_long_line(begin)
                return
        if buffer.rest:
            yield self._block(min(end + 1, len(buffer.rest)))

    def _cut_long_line(self, begin: int) -> Iterator[Block]:
        """The lines before a line that is too long, which is at begin; then its first bytes. The rest is skipped."""
        if begin:
            yield self._block(begin)
        start, head = self._buffer.start, bytes(self._buffer.rest[:RAW_BYTES])
        self._skipping = True
        while self._skipping and not self.at_end:
            self._skip_line()
        suffix_bytes = self._buffer.start - start - len(head)
        yield Block(head, Shape.TOO_LONG, self._source, start, suffix_bytes=suffix_bytes)

    def _block(self, count: int) -> Block:
        offset, prefix, suffix = self._buffer.start, self._buffer.skipped(), 0
        data = self._buffer.take(count)
        if offset == 0 and bytes(data[: len(BOM_UTF8)]) == BOM_UTF8:
            data, offset, prefix = data[len(BOM_UTF8) :], len(BOM_UTF8), len(BOM_UTF8)
        if bytes(data[-1:]) != b"\n":
            data, suffix = memoryview(bytes(data) + b"\n"), -1
        return Block(data, Shape.LINES, self._source, offset, prefix_bytes=prefix, suffix_bytes=suffix)


def _array_blocks(buffer: _Buffer, source: str, block_bytes: int, in_object: bool) -> Iterator[Block]:
    """Blocks of whole elements. Only the last comma between elements is looked for; nothing is parsed here."""
    index, wanted, end = 0, block_bytes, -1
    while not buffer.fill(wanted + 1).ended:
        cut, count, end = _last_comma(buffer.rest)
        if end >= 0:
            break
        if cut >= 0:
            wanted = block_bytes
            yield _elements(buffer, cut, source, index, count)
            index += count
        elif len(buffer.rest) > MAX_RECORD_BYTES:
            raise InputError(f"{source}: byte {buffer.start}: an element is longer than {MAX_RECORD_BYTES} bytes")
        else:
            wanted = min(2 * wanted, MAX_RECORD_BYTES)
    last = _elements(buffer, _closing(buffer, end, source, in_object), source, index)
    if not index and not bytes(last.data).strip(WHITE_SPACE):
        last = dataclasses.replace(last, shape=Shape.LINES)  # an array without elements is as a blank line
    yield dataclasses.replace(last, suffix_bytes=_skip_tail(buffer, source, in_object))


def _elements(buffer: _Buffer, size: int, source: str, index: int, records: int | None = None) -> Block:
    """The next size bytes as a block. The comma or bracket after them becomes the newline that ends a block."""
    offset, prefix = buffer.start, buffer.skipped()
    data = buffer.take(size + 1)
    data[-1] = _NEWLINE
    return Block(data, Shape.ELEMENTS, source, offset, index, records=records, prefix_bytes=prefix)


def _skip_tail(buffer: _Buffer, source: str, in_object: bool) -> int:
    """Skips and counts the bytes after the array's bracket: white space, and the brace of the object that holds it."""
    start = buffer.start
    while buffer.fill(HEAD_BYTES).rest:
        head = buffer.head
        rest = head.lstrip(WHITE_SPACE)
        if in_object and rest[:1] == b"}":
            in_object, rest = False, rest[1:].lstrip(WHITE_SPACE)
        buffer.take(len(head) - len(rest))
        if rest:
            break
    if buffer.rest or in_object:
        raise InputError(_broken_off(source, buffer.start, bytes(buffer.rest[:1])))
    return buffer.start - start


def _last_comma(data: memoryview) -> tuple[int, int, int]:
    """Index of the last comma between elements or -1, how many there are, index of the array's end or -1."""
    if not native.worth_compiling("last_comma", len(data)):
        return _last_comma_plain(bytes(data))
    found = np.empty(2, np.int64)
    cut = native.invoke("last_comma", np.frombuffer(data, np.uint8), len(data), found)
    return cut, *found.tolist()


def _last_comma_plain(data: bytes) -> tuple[int, int, int]:
    depth = count = 0
    comma = -1
    for token in TOKEN.finditer(data):
        mark = data[token.start()]
        if mark in b"[{":
            depth += 1
        elif mark in b"]}":
            depth -= 1
            if depth < 0:
                return comma, count, token.start()
        elif mark == 44 and depth == 0:
            comma, count = token.start(), count + 1
    return comma, count, -1


def _closing(buffer: _Buffer, end: int, source: str, in_object: bool) -> int:
    """The index of the bracket that ends the array. end: that index if it was found already, else -1."""
    if end < 0:  # the stream has ended
        rest = bytes(buffer.rest).rstrip(WHITE_SPACE)
        rest = rest[:-1].rstrip(WHITE_SPACE) if in_object and rest[-1:] == b"}" else rest
        end = len(rest) - 1 if rest[-1:] == b"]" else len(rest)
    if bytes(buffer.rest[end : end + 1]) != b"]":
        raise InputError(_broken_off(source, buffer.start + end, bytes(buffer.rest[end - 1 : end])))
    return end


def _broken_off(source: str, at: int, found: bytes) -> str:
    """The error of an array without an end. found: the last byte before it, or the first one after it."""
    what = "the array breaks off, or something follows it"
    if found in (b"[", b"{"):
        what = "another JSON document follows the array; a file holds one array, or a record on each line"
    return f"{source}: byte {at}: {what}"
