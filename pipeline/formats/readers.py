"""Readers of JSON, one class for each way to split a file, and the choice of the reader for a file."""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

from pipeline.errors import InputError
from pipeline.formats.blocks import LineReader, head_of, is_array, read_blocks
from pipeline.formats.content import JSON, PARQUET, Form, check_form, check_within, form_of_name, form_within
from pipeline.formats.decoding import AnyBlock
from pipeline.formats.reader import Reader, Source
from pipeline.storage.compression import Codec


class LinesReader(Reader):
    """Plain JSON Lines: each split has the lines that begin in split_bytes of the file."""

    def __init__(self, source: Source, split_bytes: int, head: Any) -> None:
        super().__init__(source)
        self._lines = LineReader(source.stream, source.name, split_bytes, head)
        self.splits = -(-source.size // split_bytes)

    def read_split(self, split: int) -> Iterator[AnyBlock]:
        yield from self._lines.read_split(split)
        if self._lines.at_end:
            self._source.check_read(self._lines.position)

    def size(self) -> int:
        return max(self._source.size, self._lines.stop)  # it may have grown since it was listed


class WholeReader(Reader):
    """A JSON array, or JSON of unknown size: one split."""

    def __init__(self, source: Source, split_bytes: int, head: Any) -> None:
        super().__init__(source)
        self._split_bytes, self._head = split_bytes, head

    def read_split(self, split: int) -> Iterator[AnyBlock]:
        yield from read_blocks(self._source.stream, self._source.name, self._split_bytes, self._head)
        self._source.check_read(self.position())

    def size(self) -> int:
        return self.position()


class CompressedReader(Reader):
    """Compressed JSON: one split, since it can only be read from its start."""

    def __init__(self, source: Source, codec: Codec, split_bytes: int, within: Form | None) -> None:
        super().__init__(source)
        self._within = within
        source.stream.seek(0)
        self._plain, self._split_bytes = _Counted(codec.open(source.stream)), split_bytes

    def read_split(self, split: int) -> Iterator[AnyBlock]:
        plain: Any = self._plain
        head = head_of(plain)
        check_within(self._source.name, self._within, head.head)
        yield from read_blocks(plain, self._source.name, self._split_bytes, head)
        self._source.check_read(self.position())

    def size(self) -> int:
        return self._plain.count


class _Counted(io.RawIOBase):
    """A stream that counts the bytes read from it."""

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
    """Whether a name has the suffix of a compression."""
    form = form_of_name(path)
    return form is not None and form.codec is not None


def open_reader(source: Source, name: str, split_bytes: int, array: bool, max_decoded_bytes: int | None) -> Reader:
    """The reader of a file's format, told by the suffix of its name, else by its first bytes. As open_file()."""
    form, head = form_of_name(name), None
    if form != PARQUET and (array or form != JSON or not source.size):
        head = head_of(source.stream)
        form = check_form(source.name, form, head.head)
    if form == PARQUET:
        from pipeline.formats.parquet import ParquetReader  # 50 ms

        return ParquetReader(source, split_bytes, max_decoded_bytes)
    if form and form.codec:
        if not (head and head.rest):
            raise InputError(f"{source.name}: cannot be read: it is empty, not even the header of a compressed file")
        return CompressedReader(source, form.codec, split_bytes, form_within(name))
    if head and (not source.size or (array and is_array(head.head))):
        return WholeReader(source, split_bytes, head)
    return LinesReader(source, split_bytes, head)


def open_plain(source: Source, name: str) -> BinaryIO:
    """The decompressed bytes of a text file. Raises InputError as open_reader()."""
    form = check_form(source.name, form_of_name(name), head_of(source.stream).head)
    source.stream.seek(0)
    return io.BufferedReader(form.codec.open(source.stream)) if form.codec else source.stream  # type: ignore[type-var]
