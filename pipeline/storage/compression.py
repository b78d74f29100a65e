"""Formats by file suffix or first bytes, and streams that compress and decompress. Does not depend on Beam."""

import bz2
import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Literal, NamedTuple, cast

from pipeline.errors import UsageError, one_line

_READ_BYTES = 256 * 1024  # compressed bytes read at a time; they stay in a core's cache


class DamagedError(OSError):
    """Compressed bytes are invalid."""


class Codec(NamedTuple):
    """A compression format.

    Attributes:
      name: for messages.
      open: returns a decompressed stream. Its reads raise EOFError or DamagedError if the compressed stream is
        truncated, DamagedError if it is invalid.
    """

    name: str
    open: Callable[[BinaryIO], BinaryIO]


class _Readable(io.RawIOBase):
    def readable(self) -> bool:
        return True


class _Compressed(_Readable):
    """A compressed stream that remembers its error, which the decompressing library may wrap."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: Exception | None = None

    def readinto(self, target: Any) -> int:
        try:
            return int(self._stream.readinto(target))
        except Exception as error:
            self.error = error
            raise


class _Decompressed(_Readable):
    """A library's stream, with its errors as DamagedError; errors of the compressed stream stay as they are.

    Args:
      stream: the compressed stream.
      decompress: makes the library's stream.
    """

    def __init__(self, stream: BinaryIO, decompress: Callable[[Any], Any]) -> None:
        self._compressed = _Compressed(stream)
        self._stream = decompress(self._compressed)
        self._position = 0

    def tell(self) -> int:
        return self._position

    def readinto(self, target: Any) -> int:
        try:
            count = int(self._stream.readinto(target))
            self._position += count
            return count
        except (MemoryError, EOFError):
            raise
        except Exception as error:
            if self._compressed.error:
                raise self._compressed.error from None
            raise DamagedError(f"damaged, or in another format: {one_line(error)}") from None


class _Bzip2(_Readable):
    """Decompresses bzip2 members in a row. Python's own reader drops what follows them, Arrow's fails on empty ones."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._member = stream, bz2.BZ2Decompressor()

    def readinto(self, target: Any) -> int:
        data = b""
        while not data:
            if self._member.eof:
                compressed = self._next_member()
                if not compressed:
                    break
                self._member = bz2.BZ2Decompressor()
            else:
                compressed = self._stream.read(_READ_BYTES) if self._member.needs_input else b""
                if not compressed and self._member.needs_input:
                    raise EOFError("Compressed file ended before the end-of-stream marker was reached")
            data = self._member.decompress(compressed, len(target))
        target[: len(data)] = data
        return len(data)

    def _next_member(self) -> bytes:
        """Returns the first bytes of the next member, after padding with zeros as tapes and block devices have it."""
        compressed = self._member.unused_data or self._stream.read(_READ_BYTES)
        while compressed and not compressed.lstrip(b"\0"):
            compressed = self._stream.read(_READ_BYTES)
        return compressed.lstrip(b"\0")


def _open_gzip(stream: BinaryIO) -> BinaryIO:
    from isal import igzip

    return cast(BinaryIO, _Decompressed(stream, lambda source: igzip.IGzipFile(fileobj=source, mode="rb")))  # type: ignore[no-untyped-call]


def _open_bzip2(stream: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, _Decompressed(stream, _Bzip2))


def _open_zstd(stream: BinaryIO) -> BinaryIO:
    import pyarrow as pa  # 0.1 s

    def decompress(source: Any) -> Any:
        return pa.CompressedInputStream(pa.PythonFile(source, mode="r"), "zstd")

    return cast(BinaryIO, _Decompressed(stream, decompress))


# Not Beam's readers, which accept truncated files.
GZIP = Codec("gzip", _open_gzip)
BZIP2 = Codec("bzip2", _open_bzip2)
ZSTD = Codec("zstd", _open_zstd)

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
    """Returns the compression of a file suffix, or None.

    Raises:
      UsageError: the compression is not supported.
    """
    suffix = name[name.rfind(".") :].lower()
    if suffix in _UNSUPPORTED:
        hint = f"; `{_UNSUPPORTED[suffix]} FILE` decompresses it" if _UNSUPPORTED[suffix] else ""
        raise UsageError(f"{name}: {suffix[1:]} compression is not supported (use .gz, .bz2 or .zst){hint}")
    return _SUFFIXES.get(suffix)


def codec_of_content(head: bytes) -> Codec | None:
    """Returns the compression identified by the first bytes of a stream, at least 10, or None."""
    return next((codec for magic, codec in _MAGIC if magic.match(head)), None)


Kind = Literal["CSV", "ids", "JSON Lines", "HTML"]

_GZIP, _ZSTD = ("gz", "gzip"), ("zst", "zstd")
_COMPRESSED = "bz bz2 xz lzma lz4 br sz snappy z zlib deflate bgz"
_ARCHIVES = "zip 7z rar tar tgz tbz tbz2 txz"
_TABLES = "parquet avro orc arrow feather ipc xls xlsx xlsm xlsb ods numbers tsv tab db sqlite sqlite3 duckdb"
_DOCUMENTS = "xml html htm pdf svg png yaml yml doc docx pickle pkl npy npz"
_NO_INPUTS = frozenset(f"csv {_ARCHIVES} {_TABLES} {_DOCUMENTS}".split(" "))
_NO_OUTPUTS = frozenset((*f"{_COMPRESSED} {_ARCHIVES} {_TABLES} {_DOCUMENTS}".split(" "), *_GZIP, *_ZSTD))
_JSON = ("json", "jsonl", "ndjson")
_OUTPUTS: dict[Kind, tuple[str, str, tuple[str, ...]]] = {
    "CSV": ("CSV", ".csv", _JSON),
    "ids": ("one id per line", ".txt", _JSON),
    "JSON Lines": ("JSON Lines", ".jsonl", ("csv",)),
}
"""Descriptions, suffixes to use, and more suffixes of other formats."""


def _suffix(path: str) -> tuple[str, str]:
    stem, _, suffix = os.path.basename(path).rpartition(".")
    return (stem, suffix.lower()) if stem.strip(".") else (suffix, "")


def other_format(path: str) -> str | None:
    """Returns the suffix of an input if it is that of a format other than JSON, such as csv or parquet; else None."""
    _, suffix = _suffix(path)
    return suffix if suffix in _NO_INPUTS else None


def check_suffix(path: str, kind: Kind) -> None:
    """Raises UsageError if an output has the suffix of another format."""
    stem, suffix = _suffix(path)
    if kind == "HTML":
        if suffix not in ("html", "htm"):
            raise UsageError(f"{path}: must end in .html")
        return
    if suffix in (*_GZIP, *_ZSTD):
        _, suffix = _suffix(stem)
    content, use, others = _OUTPUTS[kind]
    if suffix in _NO_OUTPUTS or suffix in others:
        raise UsageError(f"{path}: suffix .{suffix}, but this output is {content}; use {use}, {use}.gz or {use}.zst")


@contextlib.contextmanager
def compressing(path: str, stream: Any) -> Iterator[Any]:
    """Yields a stream that compresses to `stream` by the suffix of path, or `stream` itself."""
    _, suffix = _suffix(path)
    if suffix in _GZIP:
        from isal import igzip

        with igzip.IGzipFile("", "wb", fileobj=_Sink(stream), mtime=0) as compressed:  # type: ignore[no-untyped-call]
            yield compressed
    elif suffix in _ZSTD:
        import pyarrow as pa

        with pa.CompressedOutputStream(pa.PythonFile(_Sink(stream), mode="w"), "zstd") as compressed:
            yield compressed
    else:
        yield stream


class _Sink(io.RawIOBase):
    """Keeps its stream open when a compressor closes it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._stream.write(data)
        return len(data)
