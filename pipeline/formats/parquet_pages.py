"""What a Parquet file's own metadata and page headers say: what Arrow's ways of reading leave to its user."""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_BY_DICTIONARY = {"PLAIN", "PLAIN_DICTIONARY", "RLE", "RLE_DICTIONARY", "BIT_PACKED"}
_MOST_ENTRIES = 1000
_DICTIONARY_PAGE = 2
_CODECS = {"LZ4": "lz4_raw"}  # of which Arrow names the other, older one too


def read_as_dictionary(chunk: bytes, column: pq.ColumnChunkMetaData) -> bool:
    """Whether Arrow gives a text column right as a dictionary, which is five times as fast as text.

    It cannot for other encodings; of a dictionary page with an entry twice it drops the second and keeps all indices.
    chunk: the column chunk's first bytes, its dictionary page at least.
    """
    if not set(column.encodings) <= _BY_DICTIONARY or not column.has_dictionary_page:
        return False
    try:
        entries = _dictionary_entries(chunk, column.compression)
    except (pa.ArrowException, OSError, ValueError, IndexError, KeyError, TypeError, RecursionError):
        return False
    return len(set(entries)) == len(entries)


def _dictionary_entries(chunk: bytes, compression: str) -> list[bytes]:
    header, start = _struct(chunk, 0)
    count = header[7][1]
    if header[1] != _DICTIONARY_PAGE or not 0 <= count <= _MOST_ENTRIES:
        raise ValueError("no small dictionary page")
    page = chunk[start : start + header[3]]
    if compression != "UNCOMPRESSED":
        page = pa.Codec(_CODECS.get(compression, compression.lower())).decompress(page, header[2], asbytes=True)
    entries, at = [], 0
    for _ in range(count):
        size = int.from_bytes(page[at : at + 4], "little")
        at += 4 + size
        if at > len(page):
            raise ValueError("the page breaks off")
        entries.append(page[at - size : at])
    return entries


def _struct(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    """A struct in Thrift's compact protocol, its fields by number, and where it ends. Of their kinds, those of page
    headers; IndexError, KeyError or ValueError where it is none."""
    fields: dict[int, Any] = {}
    number = 0
    while data[at]:
        delta, kind = data[at] >> 4, data[at] & 15
        if not delta:
            raise ValueError("a field that page headers do not have")
        number, at = number + delta, at + 1
        if kind in (1, 2):
            fields[number] = kind == 1
        elif kind in (5, 6):
            value, at = _varint(data, at)
            fields[number] = value >> 1 ^ -(value & 1)
        elif kind == 8:
            size, at = _varint(data, at)
            at += size
        elif kind == 12:
            fields[number], at = _struct(data, at)
        else:
            raise ValueError("a field that page headers do not have")
    return fields, at + 1


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


def without_arrow_types(metadata: pq.FileMetaData) -> pq.FileMetaData:
    """Metadata without the writer's own Arrow schema, which may ask for dictionaries of columns that have none."""
    sink = pa.BufferOutputStream()
    metadata.write_metadata_file(sink)
    return pq.read_metadata(pa.BufferReader(sink.getvalue().to_pybytes().replace(b"ARROW:schema", b"arrow-schema")))


def never_empty(column: pq.ColumnChunkMetaData, schema: pq.ColumnSchema) -> bool:
    """Whether the metadata proves that a text column has neither nulls nor empty texts.

    The empty text is the least of all. (Arrow gives no statistics of writers known for wrong ones.)
    """
    known = column.statistics
    if known is None or not known.has_min_max or not known.min_raw:
        return False
    return bool(schema.max_definition_level == 0 or (known.has_null_count and known.null_count == 0))
