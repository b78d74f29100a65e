"""The base class of readers, which read an open source as splits and blocks."""

import abc
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from pipeline.errors import InputError
from pipeline.formats.decoding import AnyBlock


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
