"""Parquet of any writer: encodings, logical types, dictionary pages, statistics; by blocks, by rows, and shipped."""

import contextlib
import io
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import EventError, InputError
from pipeline.formats.parquet import ParquetReader
from pipeline.formats.readers import Source
from pipeline.schema import check_event
from tests import support
from tests.parquet_support import GOOD, KINDS, SIX, blocks, chunks, decoded, joined, write
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


ROW = st.tuples(
    st.none() | st.text(max_size=5) | st.sampled_from(("a", "b", "id")),
    st.none() | st.sampled_from((*KINDS, *KINDS, *KINDS, "click", "", "video_2")),
    st.none() | st.integers(-1, 253402297200) | st.sampled_from((-(2**63), 2**63 - 1, 0)),
)
TEXTS = (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()))
TEXT_ENCODINGS = ("dictionary", "PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY")
TIME_ENCODINGS = ("dictionary", "PLAIN", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT")


@st.composite
def writers(draw: st.DrawFn) -> dict[str, Any]:
    """Options of pq.write_table."""
    encodings = {name: draw(st.sampled_from(TEXT_ENCODINGS)) for name in ("id", "event")}
    encodings["timestamp"] = draw(st.sampled_from(TIME_ENCODINGS))
    return {
        "use_dictionary": [name for name, encoding in encodings.items() if encoding == "dictionary"],
        "column_encoding": {name: encoding for name, encoding in encodings.items() if encoding != "dictionary"},
        "compression": draw(st.sampled_from(("none", "snappy", "gzip", "zstd", "lz4", "brotli"))),
        "data_page_version": draw(st.sampled_from(("1.0", "2.0"))),
        "data_page_size": draw(st.sampled_from((1, 50, 1 << 20))),
        "dictionary_pagesize_limit": draw(st.sampled_from((1, 30, 1 << 20))),
        "write_batch_size": draw(st.sampled_from((1, 3, 1024))),
        "row_group_size": draw(st.sampled_from((1, 7, 1000))),
        "write_statistics": draw(st.booleans()),
        "write_page_checksum": draw(st.booleans()),
        "store_schema": draw(st.booleans()),
    }


def is_event(row: tuple[Any, Any, Any]) -> bool:
    try:
        check_event(dict(zip(("id", "event", "timestamp"), row, strict=True)))
    except EventError:
        return False
    return True


@settings(max_examples=250, deadline=None)
@given(st.lists(ROW, max_size=40) | st.lists(GOOD, max_size=60), st.data(), writers())
def test_rows_of_any_writer_are_decoded_as_the_schema_says(
    tmp_path_factory: Any, rows: list[Any], data: st.DataObject, options: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "a"
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    kinds = [data.draw(st.sampled_from(TEXTS)), data.draw(st.sampled_from(TEXTS)), pa.int64()]
    nullable = data.draw(st.booleans()) or any(value is None for column in columns for value in column)
    names = ("id", "event", "timestamp")
    schema = pa.schema([pa.field(name, kind, nullable) for name, kind in zip(names, kinds, strict=True)])
    plain = [pa.array(column, pa.int64() if k == 2 else pa.string()) for k, column in enumerate(columns)]
    table = pa.table([column.cast(kind) for column, kind in zip(plain, kinds, strict=True)], schema)
    pq.write_table(table, path, **options)
    batch = decoded(path)
    assert support.batch_rows(batch) == [row for row in rows if is_event(row)]
    assert [reject.index for reject in batch.rejects] == [k for k, row in enumerate(rows) if not is_event(row)]


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


@pytest.mark.parametrize("change", ["gone", "other", "cut"])
def test_a_file_that_changes_between_reading_and_decoding(change: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    write(path, SIX)
    (block,) = blocks(path, True)
    if change == "cut":
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(InputError, match="a: row 0: damaged Parquet: "):
            block.decode(True, None)
        return
    path.unlink()
    if change == "other":
        write(path, SIX[:2])
    assert support.batch_rows(block.decode(True, None)) == SIX


def test_files_are_closed_when_no_block_needs_them_any_more(tmp_path: Path) -> None:
    write(tmp_path / "a", SIX, row_group_size=2)
    before = len(os.listdir("/proc/self/fd"))
    found = list(blocks(tmp_path / "a", True))
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del found
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a\udce9"
    write(tmp_path / "b", SIX)
    (tmp_path / "b").rename(path)
    assert support.batch_rows(decoded(path)) == SIX


def test_bytes_that_nothing_says_are_text(tmp_path: Path) -> None:
    table = pa.table({"id": [b"a"], "event": ["video_25"], "timestamp": [1]})
    stream = io.BytesIO()
    pq.write_table(table, stream)
    with pytest.raises(InputError, match="column id is binary, must be a string"):
        ParquetReader(Source(stream, "a", 1))


def test_text_that_says_it_is_json(tmp_path: Path) -> None:
    """Parquet's logical type JSON, which Arrow reads as an extension."""
    table = pa.table({"id": ["a", ""], "event": ["video_25"] * 2, "timestamp": [1, 1]})
    kinds = [pa.field("id", pa.json_()), pa.field("event", pa.json_()), pa.field("timestamp", pa.int64())]
    pq.write_table(table.cast(pa.schema(kinds)), tmp_path / "a.parquet")
    batch = decoded(tmp_path / "a.parquet")
    assert support.batch_rows(batch) == [("a", "video_25", 1)]
    assert [reject.index for reject in batch.rejects] == [1]
