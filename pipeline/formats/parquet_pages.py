"""Reads what a Parquet file's footer and page headers say of its columns.

pyarrow's own access to statistics crashes the process where a damaged file contradicts itself. Field numbers are those
of the format's parquet.thrift.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_BY_DICTIONARY = {0, 2, 3, 4, 8}  # PLAIN, PLAIN_DICTIONARY, RLE, BIT_PACKED, RLE_DICTIONARY
_MOST_ENTRIES, _MOST_BYTES = 1000, 1024 * 1024
_DICTIONARY_PAGE = 2

MAX_FOOTER_BYTES = 1024 * 1024
"""A larger footer (of thousands of columns or row groups) is not read here: that would take a second."""

_BROKEN = (
    *(pa.ArrowException, OSError, ValueError, IndexError, KeyError),
    *(TypeError, AttributeError, OverflowError, RecursionError),
)


class Chunk(NamedTuple):
    """A column of a row group. offset: of its first byte in the file.

    size, plain_size: bytes compressed, and decompressed. codec, encodings: numbers of the format. never_null: whether
    its statistics count no nulls. least: the smallest value by its statistics, b"" where they have none.
    """

    offset: int
    size: int
    plain_size: int
    codec: int
    encodings: frozenset[int]
    has_dictionary: bool
    never_null: bool
    least: bytes

    def never_empty(self, required: bool) -> bool:
        """Whether it is known to hold neither nulls nor empty texts. required: whether the schema forbids nulls.

        An empty text would be the smallest value.
        """
        return bool(self.least) and (required or self.never_null)


class Group(NamedTuple):
    """A row group. rows: how many. chunks: those of the columns asked for."""

    rows: int
    chunks: tuple[Chunk, ...]


def read_groups(stream: Any, leaves: Sequence[int]) -> list[Group] | None:
    """The row groups of a Parquet file; None if its footer is too large or damaged. leaves: numbers of columns."""
    try:
        end = stream.seek(0, 2)
        stream.seek(end - 8)
        size = int.from_bytes(stream.read(4), "little")
        if size > MAX_FOOTER_BYTES:
            return None
        stream.seek(end - 8 - size)
        return _groups(stream.read(size), tuple(leaves))
    except _BROKEN:
        return None


@lru_cache(4)
def _groups(footer: bytes, leaves: tuple[int, ...]) -> list[Group]:
    found, _ = _struct(footer, 0)
    return [Group(group[3], tuple(_chunk(group[1][leaf][3]) for leaf in leaves)) for group in found[4]]


def _chunk(column: dict[int, Any]) -> Chunk:
    known = column.get(12, {})
    offset = min(filter(None, (column.get(11), column[9])))
    sizes, encodings, least = (column[7], column[6]), column[2], known.get(6, b"")
    if min(offset, *sizes) < 0 or type(least) is not bytes:
        raise ValueError("not a column")
    return Chunk(offset, *sizes, column[4], frozenset(encodings), 11 in column, known.get(3) == 0, least)


def read_as_dictionary(start: bytes, chunk: Chunk) -> bool:
    """Whether Arrow reads a text column correctly as a dictionary, which is five times as fast as text.

    It fails on other encodings. If a dictionary page holds an entry twice, it drops the second and keeps the
    page's indices, which are then wrong. start: the chunk's first bytes, at least its dictionary page.
    """
    if not chunk.encodings <= _BY_DICTIONARY or not chunk.has_dictionary:
        return False
    try:
        entries = _dictionary_entries(start, chunk.codec)
    except _BROKEN:
        return False
    return len(set(entries)) == len(entries)


def _dictionary_entries(data: bytes, codec: int) -> list[bytes]:
    header, start = _struct(data, 0)
    count, size = header[7][1], header[2]
    if header[1] != _DICTIONARY_PAGE or not 0 <= count <= _MOST_ENTRIES or not 0 <= size <= _MOST_BYTES:
        raise ValueError("no small dictionary page")
    page = data[start : start + header[3]]
    if codec:
        page = pa.Codec(_CODECS[codec]).decompress(page, size, asbytes=True)
    entries, at = [], 0
    for _ in range(count):
        size = int.from_bytes(page[at : at + 4], "little")
        at += 4 + size
        if at > len(page):
            raise ValueError("the page breaks off")
        entries.append(page[at - size : at])
    return entries


def _struct(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    """A struct in Thrift's compact protocol: its fields by number, and the index after it. Raises one of _BROKEN."""
    fields: dict[int, Any] = {}
    number = 0
    while data[at]:
        delta, kind = data[at] >> 4, data[at] & 15
        at += 1
        if delta:
            number += delta
        else:
            number, at = _integer(data, at)
        if kind in (1, 2):
            fields[number] = kind == 1
        else:
            fields[number], at = _value(data, at, kind)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (4, 5, 6):
        return _integer(data, at)
    if kind == 8:
        size, at = _varint(data, at)
        if at + size > len(data):
            raise ValueError("it breaks off")
        return data[at : at + size], at + size
    if kind == 12:
        return _struct(data, at)
    if kind == 9:
        count, kind, at = data[at] >> 4, data[at] & 15, at + 1
        if count == 15:
            count, at = _varint(data, at)
        items = []
        for _ in range(count):
            item, at = _value(data, at, kind)
            items.append(item)
        return items, at
    sizes = {1: 1, 2: 1, 3: 1, 7: 8}  # of booleans in lists, bytes, doubles
    return data[at : at + sizes[kind]], at + sizes[kind]


def _integer(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return value >> 1 ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


def without_arrow_types(metadata: pq.FileMetaData) -> pq.FileMetaData:
    """Metadata without the writer's Arrow schema, which may ask for a dictionary where a column has none."""
    sink = pa.BufferOutputStream()
    metadata.write_metadata_file(sink)
    return pq.read_metadata(pa.BufferReader(sink.getvalue().to_pybytes().replace(b"ARROW:schema", b"arrow-schema")))
