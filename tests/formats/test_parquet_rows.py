"""Rows of Parquet of any writer, as the schema says: events, rejects with their reasons, columns of other types."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import EventError, InputError
from pipeline.schema import check_event
from tests import oracle, support
from tests.reading_support import EVENTS, GOOD, columns, decoded, parquet, read, write

ROW = st.tuples(
    st.none() | st.text(max_size=5) | st.sampled_from(("a", "b", "id")),
    st.none() | st.sampled_from((*oracle.EVENTS, *oracle.EVENTS, *oracle.EVENTS, "click", "", "video_2")),
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


def test_text_that_says_it_is_json(tmp_path: Path) -> None:
    """Parquet's logical type JSON, which Arrow reads as an extension."""
    table = pa.table({"id": ["a", ""], "event": ["video_25"] * 2, "timestamp": [1, 1]})
    kinds = [pa.field("id", pa.json_()), pa.field("event", pa.json_()), pa.field("timestamp", pa.int64())]
    pq.write_table(table.cast(pa.schema(kinds)), tmp_path / "a.parquet")
    batch = decoded(tmp_path / "a.parquet")
    assert support.batch_rows(batch) == [("a", "video_25", 1)]
    assert [reject.index for reject in batch.rejects] == [1]


def test_parquet_rejects(tmp_path: Path) -> None:
    bad: list[tuple[Any, Any, Any, str]] = [
        (None, "video_25", 1, "id must be a string, not null"),
        ("", "video_25", 1, "id must not be empty"),
        ("a", None, 1, "event must be a string, not null"),
        ("a", "click", 1, "unknown event 'click'"),
        ("a", "video_25", None, "timestamp must be whole Unix seconds, not null"),
        ("a", "video_25", -1, "timestamp must not be negative"),
        ("a", "video_25", 253402297200, "timestamp must be below 253402297200"),
        ("a", "video_25", 1617393003000, "milliseconds"),
        ("a", "video_25", 2**63 - 1, "timestamp must be below 253402297200"),
        ("a", "video_25", -(2**63), "timestamp must not be negative"),
    ]
    good = ("b", "video_25", 253402297199)
    records = [row for *record, _ in bad for row in (record, good)]
    data = {name: pa.array([row[k] for row in records]) for k, name in enumerate(("id", "event", "timestamp"))}
    for dictionary in (False, True):
        if dictionary:
            data = {**data, "id": data["id"].dictionary_encode(), "event": data["event"].dictionary_encode()}
        batch = read(parquet(tmp_path / "a.parquet", data, row_group_size=6))
        assert support.batch_rows(batch) == [good] * len(bad)
        assert [reject.index for reject in batch.rejects] == list(range(0, 20, 2))
        for reject, (identity, kind, timestamp, reason) in zip(batch.rejects, bad, strict=True):
            assert reason in reject.reason
            assert reject.offset is None
            assert json.loads(reject.raw) == {"id": identity, "event": kind, "timestamp": timestamp}


@pytest.mark.parametrize(
    "kind", [*map(pa.type_for_alias, ("int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64"))], ids=str
)
def test_parquet_timestamps_of_few_bits(kind: pa.DataType, tmp_path: Path) -> None:
    data = {"id": ["a", "b", "c"], "event": ["video_25"] * 3, "timestamp": pa.array([0, 127, None], kind)}
    batch = read(parquet(tmp_path / "a.parquet", data))
    assert support.batch_rows(batch) == [("a", "video_25", 0), ("b", "video_25", 127)]
    assert [reject.index for reject in batch.rejects] == [2]


@pytest.mark.parametrize("value", [2**63, 2**64 - 1])
def test_parquet_timestamps_beyond_64_bits_with_a_sign(value: int, tmp_path: Path) -> None:
    data = {"id": ["a", "b"], "event": ["video_25"] * 2, "timestamp": pa.array([1, value], pa.uint64())}
    batch = read(parquet(tmp_path / "a.parquet", data))
    assert support.batch_rows(batch) == [("a", "video_25", 1)]
    assert [(reject.index, "must be below" in reject.reason) for reject in batch.rejects] == [(1, True)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": None}, "has 0 columns named id"),
        ({"event": None}, "has 0 columns named event"),
        ({"timestamp": None}, "has 0 columns named timestamp"),
        ({"id": pa.array([1])}, "column id is int64, must be a string"),
        ({"id": pa.array([b"a"])}, "column id is binary, must be a string"),
        ({"event": pa.array([True])}, "column event is bool, must be a string"),
        ({"timestamp": pa.array([1.0])}, "column timestamp is double, must be whole Unix seconds"),
        ({"timestamp": pa.array(["1"])}, "column timestamp is string, must be whole Unix seconds"),
        ({"timestamp": pa.array([1]).cast(pa.timestamp("s"))}, "must be whole Unix seconds"),
        ({"timestamp": pa.array([True])}, "column timestamp is bool, must be whole Unix seconds"),
        (
            {"timestamp": pa.array([1]).cast(pa.decimal128(20))},
            r"column timestamp is decimal128\(20, 0\), must be whole",
        ),
        ({"timestamp": pa.array([1]).cast(pa.duration("s"))}, r"column timestamp is duration\[s\], must be whole"),
        ({"id": pa.array([{"id": "a"}])}, "column id is struct<id: string>, must be a string"),
        ({"id": pa.array([["a"]])}, "column id is list<element: string>, must be a string"),
        ({"id": pa.array([b"a" * 16]).cast(pa.binary(16))}, r"column id is fixed_size_binary\[16\], must be a string"),
        ({"id": pa.nulls(1)}, "column id is null, must be a string"),
    ],
)
def test_parquet_of_wrong_columns(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    data = {name: column for name, column in {**columns(EVENTS[:1]), **change}.items() if column is not None}
    with pytest.raises(InputError, match=f"a.parquet: .*{reason}"):
        read(parquet(tmp_path / "a.parquet", data))


def test_parquet_with_a_column_twice(tmp_path: Path) -> None:
    table = pa.table(columns(EVENTS)).append_column("id", pa.array(["x"] * 200))
    with pytest.raises(InputError, match=r"a.parquet: has 2 columns named id"):
        read(parquet(tmp_path / "a.parquet", table))


def test_parquet_with_text_that_is_no_utf_8(tmp_path: Path) -> None:
    texts = {"id": [b"a", b"\xff", b"b", b"c"], "event": [b"video_25", b"video_25", b"\xe9", b"video_50"]}
    data = {name: pa.array(column, pa.binary()).view(pa.string()) for name, column in texts.items()}
    batch = read(parquet(tmp_path / "a.parquet", {**data, "timestamp": [1, 2, 3, 4]}))
    assert support.batch_rows(batch) == [("a", "video_25", 1), ("c", "video_50", 4)]
    assert [str(reject) for reject in batch.rejects] == [
        "a.parquet: row 1: id is not UTF-8",
        "a.parquet: row 2: event is not UTF-8",
    ]
    assert [json.loads(reject.raw) for reject in batch.rejects] == [
        {"id": "\\xff", "event": "video_25", "timestamp": 2},
        {"id": "b", "event": "\\xe9", "timestamp": 3},
    ]


def test_a_reject_of_large_values_keeps_their_beginning(tmp_path: Path) -> None:
    write(tmp_path / "a", [("x" * 100_000, "y" * 100_000, 1)])
    (reject,) = decoded(tmp_path / "a").rejects
    assert len(reject.raw) == 1024
    assert len(reject.reason) < 200
