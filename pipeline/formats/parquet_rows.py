"""Turns Parquet rows into batches: checks Arrow columns, and makes events and rejects of them."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import EventError, InputError, one_line
from pipeline.model.events import NO_IDS, Batch, Ids, Reject
from pipeline.schema import EVENT_TYPES, FIELDS, MAX_TIMESTAMP, RAW_BYTES, check_event


def decode_rows(
    rows: pa.RecordBatch, source: str, index: int, want_ids: bool = True, max_rejects: int | None = None
) -> Batch:
    """Decodes rows: the valid events as columns, the others as rejects with their row's index.

    rows: columns id, event, timestamp; id may be left out if it is not wanted and known to be valid. index: how many
    rows of the file are before these. want_ids, max_rejects: as for decode. Raises:
      InputError: the rows are damaged.
    """
    try:
        rows.validate(full=True)
        rows = _as_text(rows)
    except pa.ArrowException as error:
        raise damaged(source, index, error) from None
    codes, times = _codes(rows.column("event")), _times(rows.column("timestamp"))
    good = pc.and_(pc.and_(pc.greater_equal(times, 0), pc.less(times, MAX_TIMESTAMP)), pc.is_valid(codes))
    if "id" in rows.schema.names:
        good = pc.and_(good, pc.greater(pc.binary_length(rows.column("id")), 0))
    good = pc.fill_null(good, False)
    rejects: tuple[Reject, ...] = ()
    rejected = len(good) - good.true_count
    if rejected:
        bad = np.flatnonzero(~good.to_numpy(zero_copy_only=False)).tolist()
        rejects = tuple(_reject(rows, row, source, index) for row in bad[:max_rejects])
        codes, times = codes.filter(good), times.filter(good)
    return Batch(
        codes.to_numpy(zero_copy_only=False).astype(np.uint8),
        times.to_numpy(zero_copy_only=False),
        _ids(rows.column("id"), good if rejected else None) if want_ids else NO_IDS,
        rejects,
        rejected,
    )


def damaged(source: str, index: int, error: Exception) -> InputError:
    """The error of a file whose rows cannot be read. index: how many rows of the file are before those."""
    return InputError(f"{source}: row {index}: damaged Parquet: {one_line(error)}")


def _as_text(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Rows with ENUM (bytes), string views and JSON as plain text columns. ArrowInvalid where they are not UTF-8."""
    for k, field in enumerate(rows.schema):
        if isinstance(field.type, pa.BaseExtensionType):
            rows = rows.set_column(k, field.name, rows.column(k).storage)
        if (
            pa.types.is_binary(field.type)
            or pa.types.is_large_binary(field.type)
            or pa.types.is_string_view(field.type)
        ):
            rows = rows.set_column(k, field.name, rows.column(k).cast(pa.large_string()))
    return rows


def _times(times: pa.Array) -> pa.Int64Array:
    if pa.types.is_uint64(times.type):
        times = pc.min_element_wise(times, pa.scalar(2**62, pa.uint64()), skip_nulls=False)
    return times.cast(pa.int64())


def _codes(events: Any) -> pa.Int32Array:
    """Each event's index in EVENT_TYPES; null for any other text."""
    if pa.types.is_dictionary(events.type):
        return _codes(events.dictionary).take(events.indices)
    return pc.index_in(events, value_set=pa.array(EVENT_TYPES, events.type))


def _ids(column: pa.Array, good: pa.BooleanArray | None) -> Ids:
    """A text column as Ids; with good, only its rows that are."""
    column = column.cast(pa.large_string())
    if good is not None:
        column = column.filter(good)
    if len(column) == 0:
        return NO_IDS
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    return Ids(ends[1:] - ends[0], np.frombuffer(data, np.uint8)[ends[0] : ends[-1]])


def _reject(rows: pa.RecordBatch, row: int, source: str, index: int) -> Reject:
    record: dict[str, Any] = rows.slice(row, 1).to_pylist()[0]
    try:
        check_event(record)
        raise AssertionError(f"row {row} was refused by Arrow's comparison and taken by check_event: {record}")
    except EventError as error:
        raw = json.dumps(record, ensure_ascii=False)[:RAW_BYTES]
        return Reject(source, None, index + row, str(error), raw)


def is_text(kind: pa.DataType, annotation: str) -> bool:
    """Whether a column holds text. kind: its Arrow type; annotation: its logical type in Parquet."""
    kind = kind.storage_type if annotation == "JSON" and isinstance(kind, pa.BaseExtensionType) else kind
    string = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return bool(string or (binary and annotation == "ENUM"))


def check_columns(schema: pa.Schema, annotations: dict[str, str], source: str) -> None:
    """InputError where one of the three columns is missing or of another type. annotations: logical types by column."""
    for field in FIELDS:
        count = schema.names.count(field)
        if count != 1:
            raise InputError(f"{source}: has {count} columns named {field}, must have one")
        kind = schema.field(field).type
        text = is_text(kind, annotations.get(field, ""))
        wanted = pa.types.is_integer(kind) if field == "timestamp" else text
        if not wanted:
            expected = "whole Unix seconds" if field == "timestamp" else "a string"
            raise InputError(f"{source}: column {field} is {kind}, must be {expected}")
