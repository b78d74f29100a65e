"""Readers of open files, one class for each format: how many parts a file has, and the blocks of each part."""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

from pipeline.errors import InputError
from pipeline.formats.blocks import BLOCK_BYTES, LineReader, first_bytes, head_of, is_array, read_blocks
from pipeline.formats.content import JSON, PARQUET, Form, check_form, check_within, form_of_name, form_within
from pipeline.formats.decoding import AnyBlock
from pipeline.formats.reader import Reader, Source
from pipeline.storage.compression import Codec


class LinesReader(Reader):
    """Plain JSON Lines: a part is a cell of cell_bytes."""

    def __init__(self, source: Source, cell_bytes: int, head: Any) -> None:
        super().__init__(source)
        self._lines = LineReader(source.stream, source.name, cell_bytes, head)
        self.parts = -(-source.size // cell_bytes)

    def read_part(self, part: int) -> Iterator[AnyBlock]:
        yield from self._lines.read_cell(part)
        if self._lines.at_end:
            self._source.check_read(self._lines.position)

    def size(self) -> int:
        return max(self._source.size, self._lines.stop)  # it may have grown since it was listed


class WholeReader(Reader):
    """A JSON array, or JSON of unknown size: one part."""

    def __init__(self, source: Source, cell_bytes: int, head: Any) -> None:
        super().__init__(source)
        self._cell_bytes, self._head = cell_bytes, head

    def read_part(self, part: int) -> Iterator[AnyBlock]:
        yield from read_blocks(self._source.stream, self._source.name, self._cell_bytes, self._head)
        self._source.check_read(self.position())

    def size(self) -> int:
        return self.position()


class CompressedReader(Reader):
    """Compressed JSON: one part, since it can only be read from its start."""

    is_compressed = True

    def __init__(self, source: Source, codec: Codec, cell_bytes: int, within: Form | None) -> None:
        super().__init__(source)
        self._within = within
        source.stream.seek(0)
        self._plain, self._cell_bytes = _Counted(codec.open(source.stream)), cell_bytes

    def read_part(self, part: int) -> Iterator[AnyBlock]:
        plain: Any = self._plain
        head = head_of(plain)
        check_within(self._source.name, self._within, head.head)
        yield from read_blocks(plain, self._source.name, self._cell_bytes, head)
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


def open_reader(
    source: Source,
    file_name: str,
    cell_bytes: int = BLOCK_BYTES,
    array: bool = True,
    max_decoded_bytes: int | None = None,
) -> Reader:
    """The reader for a file's format, told by its name's suffix, else by its first bytes.

    Args:
      source: the open file.
      file_name: its path.
      cell_bytes: size of a part of JSON Lines or Parquet.
      array: whether it may be a JSON array; if it is known not to be one, its first bytes need not be fetched.
      max_decoded_bytes: of Parquet, after decompression and decoding; None: any number.

    Raises:
      InputError: it is not what its name says, or of no format that can be read.
      TooLargeError: it has more than max_decoded_bytes; also while it is read.
    """
    form, head = form_of_name(file_name), None
    if form != PARQUET and (array or form != JSON or not source.size):
        head = head_of(source.stream) if array else first_bytes(source.stream)
        form = check_form(source.name, form, head.head)
    if form == PARQUET:
        from pipeline.formats.parquet import ParquetReader  # 50 ms

        return ParquetReader(source, cell_bytes, max_decoded_bytes)
    if form and form.codec:
        if not (head and head.rest):
            raise InputError(f"{source.name}: cannot be read: it is empty, not even the header of a compressed file")
        return CompressedReader(source, form.codec, cell_bytes, form_within(file_name))
    if head and (not source.size or is_array(head.head)):
        return WholeReader(source, cell_bytes, head)
    return LinesReader(source, cell_bytes, head)


def open_plain(source: Source, file_name: str) -> BinaryIO:
    """A stream of a text file's decompressed bytes. Raises InputError as open_reader()."""
    form = check_form(source.name, form_of_name(file_name), first_bytes(source.stream).head)
    source.stream.seek(0)
    return io.BufferedReader(form.codec.open(source.stream)) if form.codec else source.stream  # type: ignore[type-var]
