"""Compression formats, told by a name's suffix or by the first bytes, and streams that decompress. No Beam."""

import bz2
import io
import re
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple, cast

from pipeline.errors import UsageError, one_line

_PIECE_BYTES = 256 * 1024
"""Bytes read or decompressed at a time: they stay in a core's cache. With 4 MiB igzip takes 1.5 times as long."""

MAX_HEADER_BYTES = 1024 * 1024
"""Largest gzip header: the file name and comment in it may have any length, and are held in memory as a whole."""

MAGIC_BYTES = 16
"""Bytes at the start of a stream that tell its compression; the longest mark has 10."""

_PLAIN_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_EXTRA, _NAME, _COMMENT, _CHECK, _RESERVED = 4, 8, 16, 2, 0xE0


class DamagedError(OSError):
    """Compressed bytes are damaged, or of another format."""


class Codec(NamedTuple):
    """A compression format. open: takes a compressed stream, returns a stream of the decompressed bytes.

    Reading from that raises EOFError (zstd: DamagedError) where the compressed stream breaks off, and DamagedError
    where it is damaged or of another format.
    """

    name: str
    open: Callable[[BinaryIO], BinaryIO]


class _GzipMember:
    """Decompresses a gzip member, with the interface of bz2.BZ2Decompressor.

    igzip is twice as fast as zlib, but calls a header with a checksum damaged if it arrives in two pieces. So the
    header is parsed here, and igzip gets the shortest possible one instead.
    """

    def __init__(self) -> None:
        self._header = b""
        self._body: Any = None

    @property
    def eof(self) -> bool:
        return self._body is not None and bool(self._body.eof)

    @property
    def needs_input(self) -> bool:
        return self._body is None or bool(self._body.needs_input)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._body.unused_data)

    def decompress(self, data: bytes, most: int) -> bytes:
        if self._body is None:
            self._header += data
            size = _header_size(self._header)
            if size is None:
                if len(self._header) > MAX_HEADER_BYTES:
                    raise DamagedError(f"a gzip header of more than {MAX_HEADER_BYTES} bytes")
                return b""
            from isal import igzip_lib

            self._body = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
            data, self._header = _PLAIN_HEADER + self._header[size:], b""
        return bytes(self._body.decompress(data, most))


def _header_size(data: bytes) -> int | None:
    """How many bytes the gzip header (RFC 1952) at the start of data has; None where it goes on behind data.

    Raises DamagedError.
    """
    if not b"\x1f\x8b\x08".startswith(data[:3]):
        raise DamagedError("not a gzip member")
    if len(data) < 10:
        return None
    flags, at = data[3], 10
    if flags & _RESERVED:
        raise DamagedError("a gzip header with unknown flags")
    if flags & _EXTRA:
        at += 2 + int.from_bytes(data[at : at + 2], "little")
    for text in (_NAME, _COMMENT):
        if flags & text:
            at = data.find(b"\0", at) + 1
            if not at:
                return None
    if flags & _CHECK:
        at += 2
        if at <= len(data) and data[at - 2 : at] != (zlib.crc32(data[: at - 2]) & 0xFFFF).to_bytes(2, "little"):
            raise DamagedError("a gzip header with a wrong checksum")
    return at if at <= len(data) else None


class _Members(io.RawIOBase):
    """The plain bytes of compressed members in a row. Other bytes are an error; Python's own readers drop them.

    Zeros behind the last member are padding, as for gzip and bzip2: tapes and block devices add them.
    make: makes a decompressor of one member, with the interface of bz2.BZ2Decompressor. Reading raises:
      EOFError: the stream ends within a member.
      DamagedError: a member is damaged, or is none.
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
                rest = self._next_member()
                if not rest:
                    break
                self._member = self._make()
            else:
                rest = self._stream.read(_PIECE_BYTES) if self._member.needs_input else b""
                if not rest and self._member.needs_input:
                    raise EOFError("the compressed data breaks off")
            data = self._decompress(rest, min(len(target), _PIECE_BYTES))
        target[: len(data)] = data
        return len(data)

    def _next_member(self) -> bytes:
        """The first bytes of the next member; empty after the last one."""
        rest = self._member.unused_data or self._stream.read(_PIECE_BYTES)
        padded = rest[:1] == b"\0"
        while padded and rest:
            if rest.strip(b"\0"):
                raise DamagedError("damaged: other bytes follow the zeros at its end")
            rest = self._stream.read(_PIECE_BYTES)
        return bytes(rest)

    def _decompress(self, rest: bytes, most: int) -> bytes:
        try:
            return self._member.decompress(rest, most)  # type: ignore[no-any-return]
        except (MemoryError, DamagedError):
            raise
        except Exception as error:  # each library has an error of its own, igzip's is no other
            raise DamagedError(f"damaged, or not what its name says: {one_line(error)}") from None


class _Zstd(io.RawIOBase):
    """The plain bytes of zstd frames, by Arrow, whose own errors have no errno."""

    def __init__(self, stream: BinaryIO) -> None:
        import pyarrow as pa  # 0.1 s

        self._frames = pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        try:
            return int(self._frames.readinto(target))
        except OSError as error:
            if error.errno is None:
                raise DamagedError(f"damaged, or not what its name says: {one_line(error)}") from None
            raise


def _members(make: Callable[[], Any]) -> Callable[[BinaryIO], BinaryIO]:
    return lambda stream: cast(BinaryIO, _Members(stream, make))


def _open_zstd(stream: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, _Zstd(stream))


# Beam's own reader takes a truncated file for a short one.
GZIP = Codec("gzip", _members(_GzipMember))
BZIP2 = Codec("bzip2", _members(bz2.BZ2Decompressor))
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
    """The compression that a name's suffix promises, or None. UsageError where it is one that is not supported."""
    lower = name.lower()
    for suffix, command in _UNSUPPORTED.items():
        if lower.endswith(suffix):
            hint = f"; `{command} FILE` decompresses it" if command else ""
            raise UsageError(f"{name}: {suffix[1:]} compression is not supported (use .gz, .bz2 or .zst){hint}")
    return next((codec for suffix, codec in _SUFFIXES.items() if lower.endswith(suffix)), None)


def codec_of_content(head: bytes) -> Codec | None:
    """The compression whose mark the first bytes of a stream are, or None. head: MAGIC_BYTES, if there are so many."""
    return next((codec for magic, codec in _MAGIC if magic.match(head)), None)
