"""Parquet files as readers and blocks have them: open files of this machine, or pieces of others."""

import dataclasses
import io
import os
from collections.abc import Iterable
from typing import BinaryIO

from pipeline.formats.parquet_pages import Chunk

_PADDING = 100  # bytes that Arrow reads behind a column of old writers, which left a page header out of its size


class LocalFile:
    """A file on this machine, open as long as blocks need it, to be read where they are decoded."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        self.size = os.fstat(descriptor).st_size

    def __del__(self) -> None:
        os.close(self._descriptor)

    def read_at(self, offset: int, count: int) -> bytes:
        """So many bytes from there on; fewer at the end."""
        count = min(count, self.size - offset)
        data = os.pread(self._descriptor, count, offset) if count > 0 else b""
        while len(data) < count and (more := os.pread(self._descriptor, count - len(data), offset + len(data))):
            data += more
        return data


@dataclasses.dataclass(frozen=True)
class Pieces:
    """A file of which some pieces are here, by their offsets. size: the file's."""

    pieces: tuple[tuple[int, bytes], ...]
    size: int

    @classmethod
    def read(cls, stream: BinaryIO, chunks: Iterable[Chunk]) -> "Pieces":
        """Reads columns."""
        size, pieces = stream.seek(0, os.SEEK_END), []
        for chunk in chunks:
            stream.seek(chunk.offset)
            pieces.append((chunk.offset, stream.read(min(chunk.size + _PADDING, max(0, size - chunk.offset)))))
        return cls(tuple(pieces), size)

    def read_at(self, offset: int, count: int) -> bytes:
        """So many bytes from there on. Raises OSError where no piece has them."""
        for start, data in self.pieces:
            at = offset - start
            if at >= 0 and at + count <= len(data):
                return data[at : at + count]
        raise OSError(f"nothing to read at byte {offset}")


class FileStream(io.RawIOBase):
    """Reads a file, with a position of its own."""

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
