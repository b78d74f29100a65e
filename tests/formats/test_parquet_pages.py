"""Pages of Parquet: dictionaries, headers that are none, and what old writers left out."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.parquet import GroupBlock
from pipeline.formats.parquet_pages import read_as_dictionary
from tests import support
from tests.parquet_support import GOOD, KINDS, SIX, blocks, chunks, decoded, write


@settings(max_examples=100, deadline=None)
@given(st.lists(GOOD, min_size=1, max_size=60), st.sampled_from((1, 20, 1 << 20)), st.sampled_from((1, 30, 1 << 20)))
def test_a_dictionary_page_with_an_entry_twice(tmp_path_factory: Any, rows: list[Any], page: int, limit: int) -> None:
    """As Arrow's plain reading has it. (Its own dictionaries go wrong.)"""
    path = tmp_path_factory.mktemp("double") / "a"
    options = {"compression": "none", "data_page_size": page, "dictionary_pagesize_limit": limit}
    write(path, rows, **options, use_dictionary=["event"])
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    data = bytearray(path.read_bytes())
    end = column.data_page_offset
    data[:end] = data[:end].replace(b"video_75", b"video_25").replace(b"video_50", b"video_25")
    path.write_bytes(data)
    assert support.batch_rows(decoded(path)) == [tuple(row.values()) for row in pq.read_table(path).to_pylist()]
    pages = bytes(data[column.dictionary_page_offset :])
    assert read_as_dictionary(pages, chunks(path)[1]) == (len({row[1] for row in rows} & {*KINDS[2:5]}) < 2)


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
def test_a_dictionary_is_used_where_it_is_right(compression: str, tmp_path: Path) -> None:
    write(tmp_path / "a", SIX, compression=compression)
    (block,) = blocks(tmp_path / "a", True)
    assert isinstance(block, GroupBlock)
    (rows,) = block._open().iter_batches(columns=["event"])
    assert pa.types.is_dictionary(rows.column(0).type)


@pytest.mark.parametrize("junk", [b"", b"\x15", b"\x15\x04\x15\x80\x80", b"\xff" * 50, b"\x00" * 50, b"\x1c" * 5000])
def test_a_page_header_that_is_none(junk: bytes, tmp_path: Path) -> None:
    write(tmp_path / "a", SIX)
    assert read_as_dictionary(junk, chunks(tmp_path / "a")[1]) is False


def varint(value: int) -> bytes:
    out = b""
    value *= 2
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


@pytest.mark.parametrize("more", [0, 50])
def test_old_writers_left_a_page_header_out_of_the_size(more: int, tmp_path: Path) -> None:
    """parquet-mr before 1.2.9: what Arrow then reads behind the column must be there. more: rows."""
    path = tmp_path / "a"
    write(path, SIX * (1 + more), compression="none", use_dictionary=["event"], write_statistics=False)
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    data = path.read_bytes()
    entries = sum(4 + len(kind) for kind in {row[1] for row in SIX})
    header = column.data_page_offset - column.dictionary_page_offset - entries
    right, wrong = (b"\x16" + varint(column.total_compressed_size - less) for less in (0, header))
    assert data.count(2 * right) == 1
    made_by = pq.ParquetFile(path).metadata.created_by.encode()
    old = b"parquet-mr version 1.2.8 (build 12345678901)"[: len(made_by)].ljust(len(made_by))
    path.write_bytes(data.replace(2 * right, 2 * wrong).replace(made_by, old))
    assert pq.ParquetFile(path).metadata.row_group(0).column(1).total_compressed_size < column.total_compressed_size
    assert support.batch_rows(decoded(path)) == SIX * (1 + more)
