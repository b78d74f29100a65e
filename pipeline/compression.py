"""Decompression, by the suffix of a name as Beam understands it."""

import bz2
import io
from collections.abc import Callable
from typing import Any, BinaryIO

import pyarrow as pa
from apache_beam.io.filesystem import CompressionTypes

from pipeline.blocks import HEAD_BYTES
from pipeline.errors import UsageError


def _by_arrow(codec: str) -> Callable[[BinaryIO], Any]:
    return lambda stream: pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), codec)


class _Bzip2(io.RawIOBase):
    """Members of bzip2 in a row. Arrow refuses an empty one, Python's own reader silently drops what is none."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._member = bz2.BZ2Decompressor()

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        data = b""
        while not data:
            if self._member.eof:
                rest = self._member.unused_data or self._stream.read(HEAD_BYTES)
                if not rest:
                    break
                self._member = bz2.BZ2Decompressor()
            else:
                rest = self._stream.read(HEAD_BYTES) if self._member.needs_input else b""
                if not rest and self._member.needs_input:
                    raise EOFError("Truncated compressed stream")
            data = self._member.decompress(rest, len(target))
        target[: len(data)] = data
        return len(data)


# Beam's own reader takes a truncated file for a short one.
_CODECS: dict[str, Callable[[BinaryIO], Any]] = {
    CompressionTypes.GZIP: _by_arrow("gzip"),
    CompressionTypes.BZIP2: lambda stream: io.BufferedReader(_Bzip2(stream)),
    CompressionTypes.ZSTD: _by_arrow("zstd"),
}


def decompressor(path: str) -> Callable[[BinaryIO], Any] | None:
    """What makes a stream of bytes of a compressed one; None for a name of a plain file, UsageError for others."""
    kind = CompressionTypes.detect_compression_type(path)
    if kind != CompressionTypes.UNCOMPRESSED and kind not in _CODECS:
        raise UsageError(f"--input {path}: {kind} compression is not supported (use .gz, .bz2 or .zst)")
    return _CODECS.get(kind)
