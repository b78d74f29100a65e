"""Parquet of any writer: encodings, logical types, dictionary pages, statistics; by blocks, by rows, and shipped."""

import contextlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from tests import support
from tests.parquet_support import SIX, blocks, chunks, decoded, joined, write
from tests.support import ROOT

FILES = ROOT / "tests" / "files"
THREE = [("a", "video_25", 1617393003), ("b", "video_25", 1617393004), ("c", "video_50", 1617393005)]
TWO = [("a", "impressions", 1617393003), ("b", "video_25", 1617393004)]
WRITTEN: dict[str, tuple[list[Any], list[int]]] = {  # the events, and the rows that are none
    "df.parquet.gzip": (SIX, []),  # pandas
    "duck-v2.parquet": (SIX, []),
    "enum-three.parquet": (THREE, []),  # DuckDB: a dictionary page with empty entries, several times
    "go-enum.parquet": (TWO, []),  # parquet-go
    "go-plain.parquet": (TWO, []),
}
MIXED = ("duckdb-mixed-v1", "duckdb-mixed-v2", "duckdb-enum-v1", "duckdb-enum-v2")
MIXED += ("polars-mixed", "polars-categorical", "polars-enum", "polars-plain")
WRITTEN.update((f"{name}.parquet", (SIX, [6, 7, 8, 9, 10, 11])) for name in MIXED)


@pytest.mark.parametrize("name", WRITTEN)
def test_files_of_other_writers(name: str) -> None:
    batch = decoded(FILES / name)
    events, rejects = WRITTEN[name]
    assert support.batch_rows(batch) == events
    assert [reject.index for reject in batch.rejects] == rejects


def test_ids_that_the_metadata_proves_right_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write(path, SIX, compression="none", use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset : column.data_page_offset + column.total_compressed_size] = bytes(
        column.total_compressed_size
    )
    path.write_bytes(data)
    assert joined(list(blocks(path, True)), False).read == 6
    with pytest.raises(InputError, match="damaged Parquet"):
        joined(list(blocks(path, True)), True)


@pytest.mark.parametrize(
    ("ids", "nullable", "statistics", "sure"),
    [
        (["a", "b"], True, True, True),
        (["a", "b"], False, True, True),
        (["a", "b"], True, False, False),
        (["a", None], True, True, False),
        (["a", ""], True, True, False),
        ([None, None], True, True, False),
    ],
)
def test_what_the_metadata_proves(ids: Any, nullable: bool, statistics: bool, sure: bool, tmp_path: Path) -> None:
    schema = pa.schema([pa.field("id", pa.string(), nullable)])
    pq.write_table(pa.table([pa.array(ids, pa.string())], schema), tmp_path / "a", write_statistics=statistics)
    assert chunks(tmp_path / "a", 1)[0].never_empty(not nullable) is sure


def tried(path: Path) -> None:
    """Reads a file by all ways, each of which gives events or says why not. (pyarrow could end the process.)"""
    for local in (True, False):
        for want_ids in (True, False):
            with contextlib.suppress(InputError):
                joined(list(blocks(path, local)), want_ids)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*WRITTEN]), st.integers(0, 10**9), st.integers(0, 255), st.sampled_from(("set", "in", "out")))
def test_a_byte_that_is_wrong(tmp_path_factory: Any, name: str, at: int, byte: int, change: str) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a"
    data = bytearray((FILES / name).read_bytes())
    at %= len(data)
    data[at : at + (change != "in")] = b"" if change == "out" else bytes([byte])
    path.write_bytes(data)
    tried(path)


def test_columns_that_the_footer_gives_two_types(tmp_path: Path) -> None:
    """pyarrow's own access to the column's statistics ends the process."""
    write(tmp_path / "a", SIX)
    data = (tmp_path / "a").read_bytes()
    text_column, encodings = b"\x15\x0c", b"\x19"
    assert data.count(text_column + encodings) == 2
    (tmp_path / "a").write_bytes(data.replace(text_column + encodings, b"\x15\x7e" + encodings))
    tried(tmp_path / "a")


def test_row_groups_of_other_sizes_than_the_file_says(tmp_path: Path) -> None:
    write(tmp_path / "a", SIX, row_group_size=3)
    data = (tmp_path / "a").read_bytes()
    rows = b"\x16\x0c\x19\x2c"  # of the file: 6, then a list of two row groups
    assert data.count(rows) == 1
    (tmp_path / "a").write_bytes(data.replace(rows, b"\x16\x0e\x19\x2c"))
    with pytest.raises(InputError, match="row groups of 6 rows, the file says 7"):
        list(blocks(tmp_path / "a", True))


def test_a_footer_too_large_to_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.formats.parquet_pages.MAX_FOOTER_BYTES", 10)
    write(tmp_path / "a", SIX)
    assert [type(block).__name__ for block in blocks(tmp_path / "a", True)] == ["RowBlock"]
    assert support.batch_rows(decoded(tmp_path / "a")) == SIX


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a\udce9"
    write(tmp_path / "b", SIX)
    (tmp_path / "b").rename(path)
    assert support.batch_rows(decoded(path)) == SIX
