"""Decodes Parquet rows into batches: checks Arrow columns, and converts them to events and rejects."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import EventError, InputError
from pipeline.model.events import NO_IDS, Batch, Ids, Reject
from pipeline.schema import EVENT_TYPES, FIELDS, MAX_TIMESTAMP, RAW_BYTES, check_event

_CODES = pa.array([name.encode() for name in EVENT_TYPES], pa.large_binary())


def decode_rows(
    rows: pa.Table, source: str, index: int, want_ids: bool = True, max_rejects: int | None = None
) -> Batch:
    """Decodes rows: the valid events as columns, the others as rejects with their row's index.

    Args:
      rows: columns id, event, timestamp, of types that check_columns accepts.
      source: name of the file.
      index: number of rows before these in the file.
      want_ids, max_rejects: as for AnyBlock.decode; ids are always checked.
    """
    ids, events = (_as_bytes(rows.column(name)) for name in ("id", "event"))
    times = _as_int64(rows.column("timestamp").combine_chunks())
    codes = pc.index_in(events, value_set=_CODES)
    good = pc.and_(pc.and_(pc.greater_equal(times, 0), pc.less(times, MAX_TIMESTAMP)), pc.is_valid(codes))
    good = pc.fill_null(pc.and_(good, pc.and_(pc.greater(pc.binary_length(ids), 0), _are_utf_8(ids))), False)
    rejects: tuple[Reject, ...] = ()
    rejected = len(good) - good.true_count
    if rejected:
        bad = np.flatnonzero(~good.to_numpy(zero_copy_only=False)).tolist()
        columns = (ids, events, rows.column("timestamp"))
        rejects = tuple(_reject(columns, row, source, index) for row in bad[:max_rejects])
        ids, codes, times = ids.filter(good), codes.filter(good), times.filter(good)
    return Batch(
        codes.to_numpy(zero_copy_only=False).astype(np.uint8),
        times.to_numpy(zero_copy_only=False),
        _ids(ids) if want_ids else NO_IDS,
        rejects,
        rejected,
    )


def _as_bytes(column: pa.ChunkedArray) -> pa.LargeBinaryArray:
    array = column.combine_chunks()
    if isinstance(array, pa.ExtensionArray):  # JSON
        array = array.storage
    return array.cast(pa.large_binary())


def _as_int64(times: pa.Array) -> pa.Int64Array:
    if pa.types.is_uint64(times.type):
        times = pc.min_element_wise(times, pa.scalar(2**62, pa.uint64()), skip_nulls=False)
    return times.cast(pa.int64())


def _are_utf_8(texts: pa.LargeBinaryArray) -> pa.BooleanArray:
    try:
        texts.cast(pa.large_string())
    except pa.ArrowInvalid:  # 65,536 rows: 20 ms
        return pa.array([text is None or _is_utf_8(text) for text in texts.to_pylist()])
    return pa.scalar(True)


def _is_utf_8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _ids(column: pa.LargeBinaryArray) -> Ids:
    if len(column) == 0:
        return NO_IDS
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    return Ids(ends[1:] - ends[0], np.frombuffer(data, np.uint8)[ends[0] : ends[-1]])


def _reject(columns: Sequence[Any], row: int, source: str, index: int) -> Reject:
    record = {field: column[row].as_py() for field, column in zip(FIELDS, columns, strict=True)}
    texts = {k: v.decode("utf-8", "backslashreplace") for k, v in record.items() if isinstance(v, bytes)}
    bad = [field for field in texts if not _is_utf_8(record[field])]
    reason = f"{bad[0]} is not UTF-8" if bad else _reason(record | texts)
    raw = json.dumps(record | {field: text[:RAW_BYTES] for field, text in texts.items()}, ensure_ascii=False)
    return Reject(source, None, index + row, reason, raw[:RAW_BYTES])


def _reason(record: dict[str, Any]) -> str:
    try:
        check_event(record)
    except EventError as error:
        return str(error)
    raise AssertionError(f"Arrow's comparison refused a row that check_event accepts: {record}")


def check_columns(schema: pa.Schema, annotations: dict[str, str], source: str) -> None:
    """Raises InputError if a column is missing or has a wrong type. annotations: logical types by column."""
    for field in FIELDS:
        count = schema.names.count(field)
        if count != 1:
            raise InputError(f"{source}: has {count} columns named {field}, must have one")
        kind = schema.field(field).type
        if field == "timestamp" and not pa.types.is_integer(kind):
            raise InputError(f"{source}: column {field} is {kind}, must be whole Unix seconds")
        if field != "timestamp" and not _is_text(kind, annotations.get(field, "")):
            raise InputError(f"{source}: column {field} is {kind}, must be a string")


def _is_text(kind: pa.DataType, annotation: str) -> bool:
    """Whether a column holds text. kind: its Arrow type; annotation: its logical type in Parquet."""
    if isinstance(kind, pa.BaseExtensionType) and annotation == "JSON":
        kind = kind.storage_type
    if annotation == "ENUM" and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        return True
    return any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))
