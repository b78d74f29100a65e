"""Readers of JSON, one class for each way to split a file, and the selection of a reader."""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

from pipeline.errors import InputError
from pipeline.formats.blocks import LineReader, buffer_head, is_array, read_blocks
from pipeline.formats.content import JSON, PARQUET, Form, check_form, check_within, form_of_name, form_within
from pipeline.formats.decoding import AnyBlock
from pipeline.formats.reader import Reader, Source
from pipeline.storage.compression import Codec


class LinesReader(Reader):
    """Plain JSON Lines: a split has the lines that begin in a range of split_bytes of the file."""

    def __init__(self, source: Source, split_bytes: int, head: Any) -> None:
        super().__init__(source)
        self._lines = LineReader(source.stream, source.name, split_bytes, head)
        self.splits = -(-source.size // split_bytes)

    def read_split(self, split: int) -> Iterator[AnyBlock]:
        yield from self._lines.read_split(split)
        if self._lines.at_end:
            self._source.check_read(self._lines.bytes_read)

    def size(self) -> int:
        return max(self._source.size, self._lines.next_offset)  # it may have grown since it was listed


class WholeReader(Reader):
    """A JSON array, or JSON of unknown size: one split."""

    def __init__(self, source: Source, split_bytes: int, head: Any) -> None:
        super().__init__(source)
        self._split_bytes, self._head = split_bytes, head

    def read_split(self, split: int) -> Iterator[AnyBlock]:
        yield from read_blocks(self._source.stream, self._source.name, self._split_bytes, self._head)
        self._source.check_read(self.bytes_read())

    def size(self) -> int:
        return self.bytes_read()


class CompressedReader(Reader):
    """Compressed JSON: one split, since it can only be decompressed from its start."""

    def __init__(self, source: Source, codec: Codec, split_bytes: int, within: Form | None) -> None:
        super().__init__(source)
        self._within = within
        source.stream.seek(0)
        self._plain, self._split_bytes = _Counted(codec.open(source.stream)), split_bytes

    def read_split(self, split: int) -> Iterator[AnyBlock]:
        plain: Any = self._plain
        buffer = buffer_head(plain)
        check_within(self._source.name, self._within, buffer.head)
        yield from read_blocks(plain, self._source.name, self._split_bytes, buffer)
        self._source.check_read(self.bytes_read())

    def size(self) -> int:
        return self._plain.count


class _Counted(io.RawIOBase):
    """Counts the bytes read from a stream."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        got: int = self._stream.readinto(target)
        self.count += got
        return got


def is_compressed(path: str) -> bool:
    """Whether the file name has a compression suffix."""
    form = form_of_name(path)
    return form is not None and form.codec is not None


def open_reader(
    source: Source, name: str, split_bytes: int, may_be_array: bool, max_decoded_bytes: int | None
) -> Reader:
    """Returns the reader of a file's format, detected from its suffix, else from its first bytes; see open_file."""
    form, buffer = form_of_name(name), None
    if form != PARQUET and (may_be_array or form != JSON or not source.size):
        buffer = buffer_head(source.stream)
        form = check_form(source.name, form, buffer.head)
    if form == PARQUET:
        from pipeline.formats.parquet import ParquetReader  # 50 ms

        return ParquetReader(source, split_bytes, max_decoded_bytes)
    if form and form.codec:
        if not (buffer and buffer.unread):
            raise InputError(f"{source.name}: empty file; expected compressed data")
        return CompressedReader(source, form.codec, split_bytes, form_within(name))
    if buffer and (not source.size or (may_be_array and is_array(buffer.head))):
        return WholeReader(source, split_bytes, buffer)
    return LinesReader(source, split_bytes, buffer)


def decompress(source: Source, name: str) -> BinaryIO:
    """Returns the decompressed bytes of a text file. Raises InputError as open_reader does."""
    form = check_form(source.name, form_of_name(name), buffer_head(source.stream).head)
    source.stream.seek(0)
    return io.BufferedReader(form.codec.open(source.stream)) if form.codec else source.stream  # type: ignore[type-var]
