"""The base class of readers, which divide an open source into splits and blocks."""

import abc
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from pipeline.errors import InputError
from pipeline.formats.decoding import AnyBlock


class Source(NamedTuple):
    """An open file.

    stream: binary, can seek. name: of messages. size: bytes when it was listed, 0 if the file system does not tell.
    """

    stream: BinaryIO
    name: str
    size: int

    def check_read(self, position: int) -> None:
        """InputError where the file ended before its size. position: how many bytes were read."""
        if position < self.size:
            raise InputError(f"{self.name}: ends at byte {position}, but had {self.size} bytes when the run began")


class Reader(abc.ABC):
    """Reads an open file of a format in splits, which can be read by different workers.

    Attributes:
      splits: how many.
      splits_are_independent: several threads can read splits with one reader.
    """

    splits = 1
    splits_are_independent = False

    def __init__(self, source: Source) -> None:
        self._source = source

    @abc.abstractmethod
    def read_split(self, split: int) -> Iterator[AnyBlock]:
        """The blocks of a split. Raises InputError where it cannot be read to its end."""

    @abc.abstractmethod
    def size(self) -> int:
        """Where the last block must end, in the unit of the blocks' spans; found otherwise, once all is read."""

    def position(self) -> int:
        """How many bytes of the file were read."""
        return self._source.stream.tell()
