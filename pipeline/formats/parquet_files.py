"""Access to the bytes of Parquet files, which blocks carry along: open local files, or pieces of other files."""

import dataclasses
import io
import os
from collections.abc import Iterable
from typing import BinaryIO

from pipeline.formats.parquet_pages import Chunk

_PADDING = 100  # bytes that Arrow reads behind a column of old writers, which left a page header out of its size


class LocalFile:
    """A file on this machine, open until the last block of it is gone, and read by the threads that decode those."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        self.size = os.fstat(descriptor).st_size

    def __del__(self) -> None:
        os.close(self._descriptor)

    def read_at(self, offset: int, count: int) -> bytes:
        """Count bytes from an offset on; fewer at the end of the file."""
        count = min(count, self.size - offset)
        data = os.pread(self._descriptor, count, offset) if count > 0 else b""
        while len(data) < count and (more := os.pread(self._descriptor, count - len(data), offset + len(data))):
            data += more
        return data


@dataclasses.dataclass(frozen=True)
class Pieces:
    """Pieces of a file that is elsewhere: (offset, bytes). size: the whole file's, in bytes."""

    pieces: tuple[tuple[int, bytes], ...]
    size: int

    @classmethod
    def read(cls, stream: BinaryIO, chunks: Iterable[Chunk]) -> "Pieces":
        """Reads the columns of a row group from a stream that can seek."""
        size, pieces = stream.seek(0, os.SEEK_END), []
        for chunk in chunks:
            stream.seek(chunk.offset)
            pieces.append((chunk.offset, stream.read(min(chunk.size + _PADDING, max(0, size - chunk.offset)))))
        return cls(tuple(pieces), size)

    def read_at(self, offset: int, count: int) -> bytes:
        """Count bytes from an offset on. Raises OSError where no piece has them all."""
        for start, data in self.pieces:
            at = offset - start
            if at >= 0 and at + count <= len(data):
                return data[at : at + count]
        raise OSError(f"nothing to read at byte {offset}")


class FileStream(io.RawIOBase):
    """A binary stream over a file, with a position of its own."""

    def __init__(self, file: LocalFile | Pieces) -> None:
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._file.size}[whence]
        return self._at

    def read(self, count: int = -1) -> bytes:
        data = self._file.read_at(self._at, count if count >= 0 else max(0, self._file.size - self._at))
        self._at += len(data)
        return data
