"""Decompression, by the suffix of a name as Beam understands it."""

import bz2
import io
from collections.abc import Callable
from typing import Any, BinaryIO

import pyarrow as pa
from apache_beam.io.filesystem import CompressionTypes

from pipeline.errors import UsageError, one_line

_PIECE_BYTES = 256 * 1024
"""Read, or decompressed, at a time: stays in a core's cache. By 4 MiB igzip takes half as long again."""


def _gzip_member() -> Any:
    from isal import igzip_lib  # twice as fast as zlib, which Arrow uses

    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)


class _Members(io.RawIOBase):
    """Compressed members in a row, each byte of the stream part of one. Python's own readers drop what is none.

    make: a decompressor of one member, with the interface of bz2.BZ2Decompressor. Raises:
      EOFError: the stream ends within a member.
      OSError: something is no member, or damaged.
    """

    def __init__(self, stream: BinaryIO, make: Callable[[], Any]) -> None:
        self._stream, self._make = stream, make
        self._member = make()

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        data = b""
        while not data:
            if self._member.eof:
                rest = self._member.unused_data or self._stream.read(_PIECE_BYTES)
                if not rest:
                    break
                self._member = self._make()
            else:
                rest = self._stream.read(_PIECE_BYTES) if self._member.needs_input else b""
                if not rest and self._member.needs_input:
                    raise EOFError("Truncated compressed stream")
            data = self._decompress(rest, min(len(target), _PIECE_BYTES))
        target[: len(data)] = data
        return len(data)

    def _decompress(self, rest: bytes, most: int) -> bytes:
        try:
            return self._member.decompress(rest, most)  # type: ignore[no-any-return]
        except MemoryError:
            raise
        except Exception as error:  # each library has an error of its own, igzip's is no other
            raise OSError(f"damaged, or not what its name says: {one_line(error)}") from None


def _members(make: Callable[[], Any]) -> Callable[[BinaryIO], Any]:
    return lambda stream: _Members(stream, make)


# Beam's own reader takes a truncated file for a short one.
_CODECS: dict[str, Callable[[BinaryIO], Any]] = {
    CompressionTypes.GZIP: _members(_gzip_member),
    CompressionTypes.BZIP2: _members(bz2.BZ2Decompressor),
    CompressionTypes.ZSTD: lambda stream: pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd"),
}


def decompressor(path: str) -> Callable[[BinaryIO], Any] | None:
    """What makes a stream of bytes of a compressed one; None for a name of a plain file, UsageError for others."""
    kind = CompressionTypes.detect_compression_type(path)
    if kind != CompressionTypes.UNCOMPRESSED and kind not in _CODECS:
        raise UsageError(f"{path}: {kind} compression is not supported (use .gz, .bz2 or .zst)")
    return _CODECS.get(kind)
