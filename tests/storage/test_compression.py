"""Compression: told by name or content, members and their headers however they are cut, padding."""

import bz2
import gzip
import io
import itertools
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.storage.compression import BZIP2, GZIP, ZSTD, Codec, DamagedError, codec_of_content, codec_of_name

DATA = b"".join(b"line %d\n" % k for k in range(2000))


class Pieces(io.RawIOBase):
    """A stream whose reads end at given places."""

    def __init__(self, data: bytes, cuts: list[int]) -> None:
        self._pieces: Iterator[bytes] = iter([data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)])

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        piece = next((piece for piece in self._pieces if piece), b"")
        if len(piece) > len(target):
            self._pieces = itertools.chain([piece[len(target) :]], self._pieces)
            piece = piece[: len(target)]
        target[: len(piece)] = piece
        return len(piece)


def unpack(codec: Codec, stream: Any) -> bytes:
    opened, data = codec.open(stream), b""
    while piece := opened.read(1 << 16):
        data += piece
    return data


def member(data: bytes, extra: bytes | None, name: bytes | None, comment: bytes | None, check: bool) -> bytes:
    """A gzip member with the optional parts of its header, by RFC 1952."""
    flags = 4 * (extra is not None) + 8 * (name is not None) + 16 * (comment is not None) + 2 * check
    header = b"\x1f\x8b\x08" + bytes([flags]) + b"\0\0\0\0\0\x03"
    if extra is not None:
        header += struct.pack("<H", len(extra)) + extra
    for text in (name, comment):
        header += text + b"\0" if text is not None else b""
    if check:
        header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    packer = zlib.compressobj(wbits=-15)
    return header + packer.compress(data) + packer.flush() + struct.pack("<II", zlib.crc32(data), len(data))


TEXT = st.none() | st.binary(max_size=40).map(lambda text: text.replace(b"\0", b""))
MEMBERS = st.builds(member, st.just(DATA), st.none() | st.binary(max_size=40), TEXT, TEXT, st.booleans())


@settings(max_examples=300, deadline=None)
@given(st.lists(MEMBERS, min_size=1, max_size=3), st.data())
def test_gzip_members_with_any_header_cut_anywhere(members: list[bytes], data: st.DataObject) -> None:
    packed = b"".join(members)
    starts = [sum(map(len, members[:k])) for k in range(len(members))]
    near = st.sampled_from(starts).flatmap(lambda start: st.integers(start, start + 140)) | st.integers(0, len(packed))
    cuts = sorted(data.draw(st.sets(near.filter(lambda at: at <= len(packed)), max_size=6)))
    assert unpack(GZIP, Pieces(packed, cuts)) == DATA * len(members)


@pytest.mark.parametrize("size", [255, 256, 257, 300, 60_000])
@pytest.mark.parametrize("check", [False, True])
def test_a_long_extra_field(size: int, check: bool) -> None:
    """Its length has two bytes."""
    packed = member(DATA, b"x" * size, None, None, check)
    assert unpack(GZIP, Pieces(packed, [11, 12, 13, size])) == DATA


def test_a_header_byte_by_byte() -> None:
    packed = member(DATA, b"abc", b"name", b"comment", True)
    assert unpack(GZIP, Pieces(packed, list(range(60)))) == DATA


def test_a_header_with_a_wrong_check_sum_is_damage() -> None:
    packed = bytearray(member(DATA, None, b"name", None, True))
    packed[12] ^= 1
    with pytest.raises(DamagedError, match=r"(?i)checksum"):
        unpack(GZIP, io.BytesIO(packed))


def test_a_header_without_end_is_given_up() -> None:
    with pytest.raises(DamagedError, match=r"[Hh]eader exceeds"):
        unpack(GZIP, io.BytesIO(b"\x1f\x8b\x08\x08\0\0\0\0\0\0" + b"x" * 2_000_000))


@pytest.mark.parametrize("zeros", [1, 511, 512, 600_000])
@pytest.mark.parametrize(("codec", "compress"), [(GZIP, gzip.compress), (BZIP2, bz2.compress)])
def test_zeros_after_a_member_are_padding(codec: Codec, compress: Callable[[bytes], bytes], zeros: int) -> None:
    packed = compress(DATA) * 2 + bytes(zeros)
    assert unpack(codec, io.BytesIO(packed)) == DATA * 2
    assert unpack(codec, io.BytesIO(packed + compress(b"") + compress(DATA))) == DATA * 3
    with pytest.raises((DamagedError, EOFError)):
        unpack(codec, io.BytesIO(packed + b"x"))


SKIPPABLE = b"\x5a\x2a\x4d\x18\x03\0\0\0abc"


@pytest.mark.parametrize(
    ("head", "codec"),
    [
        (gzip.compress(b"", mtime=0), GZIP),
        (bz2.compress(b""), BZIP2),
        (bz2.compress(DATA), BZIP2),
        (zstandard.compress(b""), ZSTD),
        (SKIPPABLE + zstandard.compress(DATA), ZSTD),
        (b"", None),
        (b"\x1f", None),
        (b"BZh9 is a word", None),
        (b'{"id": "a"}', None),
    ],
)
def test_compression_by_content(head: bytes, codec: Codec | None) -> None:
    assert codec_of_content(head) is codec
    if codec:
        assert unpack(codec, io.BytesIO(head)) in (b"", DATA)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.jsonl.gz", GZIP), ("A.GZ", GZIP), ("b.bz2", BZIP2), ("c.zst", ZSTD), ("c.zstd", ZSTD)]
    + [(name, None) for name in ("a.json", "gz", "a.gzip", "a.bgz", "a.gz.json", "")],
)
def test_compression_by_name(name: str, codec: Codec | None) -> None:
    assert codec_of_name(name) is codec


@pytest.mark.parametrize("name", ["a.deflate", "a.json.lzma", "a.XZ", "a.lz4", "a.Z", "a.snappy", "a.br"])
def test_a_compression_that_is_not_supported(name: str) -> None:
    with pytest.raises(UsageError, match=f"^{name}: .* compression is not supported"):
        codec_of_name(name)


def test_neither_beam_nor_arrow_is_imported() -> None:
    code = "import sys, pipeline.storage.compression; print({'apache_beam', 'pyarrow'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
