"""What readers of all formats share: an open source, and the base class that divides it into parts and blocks."""

import abc
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from pipeline.errors import InputError
from pipeline.formats.decoding import AnyBlock


class Source(NamedTuple):
    """An open file. name: what messages call it. size: bytes when it was listed, 0 if the file system does not say.

    stream: binary, can seek.
    """

    stream: BinaryIO
    name: str
    size: int

    def check_read(self, position: int) -> None:
        """InputError where the file ended before its size. position: how many bytes were read."""
        if position < self.size:
            raise InputError(f"{self.name}: ends at byte {position}, but had {self.size} bytes when the run began")


class Reader(abc.ABC):
    """Reads an open file of a format in parts, which can be read by different workers.

    Attributes:
      parts: how many.
      parts_are_independent: several threads can read parts with one reader.
      is_compressed: of the file.
    """

    parts = 1
    parts_are_independent = False
    is_compressed = False

    def __init__(self, source: Source) -> None:
        self._source = source

    @abc.abstractmethod
    def read_part(self, part: int) -> Iterator[AnyBlock]:
        """The blocks of a part. Raises InputError where it cannot be read to its end."""

    @abc.abstractmethod
    def size(self) -> int:
        """Where the last block must end, in the unit of the blocks' spans; found otherwise, once all is read."""

    def position(self) -> int:
        """How many bytes of the file were read."""
        return self._source.stream.tell()
