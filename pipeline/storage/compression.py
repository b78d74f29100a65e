"""Compression formats, by the suffix of a name or the first bytes, and streams that decompress. No Beam."""

import io
import re
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple, cast

from pipeline.errors import UsageError, one_line

MAGIC_BYTES = 16
"""Bytes at the start of a stream that identify its compression; the longest mark has 10."""


class DamagedError(OSError):
    """Compressed bytes are damaged, or of another format."""


class Codec(NamedTuple):
    """A compression format.

    Attributes:
      name: for messages.
      open: takes a compressed stream, returns a stream of the decompressed bytes. Where the compressed stream is
        truncated, reading raises EOFError or DamagedError; DamagedError where it is damaged or of another format.
    """

    name: str
    open: Callable[[BinaryIO], BinaryIO]


class _Decompressed(io.RawIOBase):
    """A library's stream, whose errors become DamagedError; those of the compressed stream have an errno."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        try:
            return int(self._stream.readinto(target))
        except (MemoryError, EOFError):
            raise
        except Exception as error:
            if getattr(error, "errno", None) is not None:
                raise
            raise DamagedError(f"damaged, or not what its name says: {one_line(error)}") from None


def _open_gzip(stream: BinaryIO) -> BinaryIO:
    from isal import igzip

    return cast(BinaryIO, _Decompressed(igzip.IGzipFile(fileobj=stream, mode="rb")))  # type: ignore[no-untyped-call]


def _open_by_arrow(name: str) -> Callable[[BinaryIO], BinaryIO]:
    def open_stream(stream: BinaryIO) -> BinaryIO:
        import pyarrow as pa  # 0.1 s

        return cast(BinaryIO, _Decompressed(pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), name)))

    return open_stream


# Not Beam's reader, which takes a truncated file for a short one, nor Python's bz2, which drops what is not bzip2.
GZIP = Codec("gzip", _open_gzip)
BZIP2 = Codec("bzip2", _open_by_arrow("bz2"))
ZSTD = Codec("zstd", _open_by_arrow("zstd"))

_SUFFIXES = {".gz": GZIP, ".bz2": BZIP2, ".zst": ZSTD, ".zstd": ZSTD}
_UNSUPPORTED = {
    ".deflate": "",
    ".lzma": "xz -dc",
    ".xz": "xz -dc",
    ".lz4": "lz4 -dc",
    ".br": "brotli -dc",
    ".snappy": "",
    ".sz": "snzip -dc",
    ".lzo": "lzop -dc",
    ".z": "gzip -dc",
}
"""Commands that decompress to standard output, by suffix."""
_MAGIC = (
    (re.compile(rb"\x1f\x8b"), GZIP),
    (re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"), BZIP2),
    (re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), ZSTD),  # a frame, or one to be skipped
)


def codec_of_name(name: str) -> Codec | None:
    """Returns the compression that the suffix of a name promises, or None.

    Raises:
      UsageError: it is a compression that is not supported.
    """
    suffix = name[name.rfind(".") :].lower()
    if suffix in _UNSUPPORTED:
        hint = f"; `{_UNSUPPORTED[suffix]} FILE` decompresses it" if _UNSUPPORTED[suffix] else ""
        raise UsageError(f"{name}: {suffix[1:]} compression is not supported (use .gz, .bz2 or .zst){hint}")
    return _SUFFIXES.get(suffix)


def codec_of_content(head: bytes) -> Codec | None:
    """Returns the compression that the first MAGIC_BYTES of a stream identify, or None."""
    return next((codec for magic, codec in _MAGIC if magic.match(head)), None)
