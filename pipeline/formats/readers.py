"""Readers of open files, one class for each way to split JSON, and line numbers.

Formats with other splits have their readers in modules of their own.
"""

import abc
import io
import threading
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

from pipeline.errors import InputError
from pipeline.formats.blocks import LineReader, buffer_head, read_blocks
from pipeline.formats.content import Form, check_within
from pipeline.formats.decoding import AnyBlock
from pipeline.formats.strict_json import WHITE_SPACE
from pipeline.storage.compression import Codec

_CHUNK_BYTES = 1024 * 1024  # read at a time: a line may be the whole stream


class Source(NamedTuple):
    """An open file.

    Attributes:
      stream: binary, seekable.
      name: for messages.
      size: in bytes when it was listed; 0 if the file system does not report it.
    """

    stream: BinaryIO
    name: str
    size: int

    def check_read(self, bytes_read: int) -> None:
        """Raises InputError if the file ended before its size."""
        if bytes_read < self.size:
            raise InputError(f"{self.name}: ends at byte {bytes_read}, but had {self.size} bytes when the run began")


class StreamView(io.RawIOBase):
    """A stream with its own position, for streams that threads share: opening a pyarrow file seeks in its stream."""

    def __init__(self, stream: BinaryIO, lock: threading.Lock) -> None:
        self._stream, self._lock, self._position = stream, lock, 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with self._lock:
            self._stream.seek(self._position)
            self._position = self._stream.seek(offset, whence)
        return self._position

    def read(self, size: int = -1) -> bytes:
        with self._lock:
            self._stream.seek(self._position)
            data = self._stream.read(size)
        self._position += len(data)
        return data


class Reader(abc.ABC):
    """Reads an open file of a format in splits, which different workers can read.

    Attributes:
      splits: their number.
      splits_are_independent: whether several threads can read splits with one reader.
    """

    splits = 1
    splits_are_independent = False

    def __init__(self, source: Source) -> None:
        self._source = source

    @abc.abstractmethod
    def read_split(self, split: int) -> Iterator[AnyBlock]:
        """Yields the blocks of a split. Raises InputError if it cannot be read to its end."""

    @abc.abstractmethod
    def size(self) -> int:
        """Returns the size of the source in the unit of spans, found independently of the blocks after reading."""

    def bytes_read(self) -> int:
        """Returns the number of bytes of the file that were read."""
        return self._source.stream.tell()


class LinesReader(Reader):
    """Plain JSON Lines: a split has the lines that begin in a range of split_bytes of the file."""

    def __init__(self, source: Source, split_bytes: int, buffer: Any) -> None:
        super().__init__(source)
        self._lines = LineReader(source.stream, source.name, split_bytes, buffer)
        self.splits = -(-source.size // split_bytes)

    def read_split(self, split: int) -> Iterator[AnyBlock]:
        yield from self._lines.read_split(split)
        if self._lines.at_end:
            self._source.check_read(self._lines.bytes_read)

    def size(self) -> int:
        return max(self._source.size, self._lines.next_offset)  # it may have grown since it was listed


class WholeReader(Reader):
    """Compressed JSON, a JSON array, or JSON of unknown size: one split."""

    def __init__(
        self,
        source: Source,
        split_bytes: int,
        buffer: Any = None,
        codec: Codec | None = None,
        within: Form | None = None,
    ) -> None:
        """Opens a file.

        Args:
          source: the open file; if it is compressed, at its start.
          split_bytes: size of a block.
          buffer: result of buffer_head(source.stream), if already called and the file is not compressed.
          codec: its compression.
          within: the format that its name promises for the decompressed content.
        """
        super().__init__(source)
        self._split_bytes, self._buffer, self._codec, self._within = split_bytes, buffer, codec, within
        self._plain = codec.open(source.stream) if codec else source.stream

    def read_split(self, split: int) -> Iterator[AnyBlock]:
        buffer = self._buffer or buffer_head(self._plain)
        if self._codec:
            check_within(self._source.name, self._within, buffer.head)
        yield from read_blocks(self._plain, self._source.name, self._split_bytes, buffer)
        self._source.check_read(self.bytes_read())

    def size(self) -> int:
        return self._plain.tell()


def line_numbers(stream: BinaryIO, offsets: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yields for each offset in JSON Lines its line number, counted from 1, and the number of records before it.

    Readers of a split know only offsets.

    Args:
      stream: decompressed; read up to the last offset.
      offsets: bytes, ascending.
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
