"""Parquet: row groups become batches without passing through JSON."""

import dataclasses
import io
import json
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import EventError, InputError, one_line
from pipeline.formats.blocks import HEAD_BYTES
from pipeline.formats.content import PARQUET, looks_like
from pipeline.formats.decoding import AnyBlock
from pipeline.model.events import NO_IDS, Batch, Ids, Reject
from pipeline.schema import EVENT_TYPES, FIELDS, MAX_TIMESTAMP, RAW_BYTES, check_event

ROWS_A_BLOCK = 64 * 1024

GROUP_BYTES, GROUP_ROWS = 16 * 1024 * 1024, 4 * ROWS_A_BLOCK
"""A row group of more is decoded as it is read: several wait at a time, and none must be in memory as a whole."""


@dataclasses.dataclass(frozen=True, eq=False)
class RowBlock(AnyBlock):
    """A run of Parquet rows. rows: columns id, event, timestamp. index: rows before it in the file."""

    rows: pa.RecordBatch
    source: str
    index: int
    arrived: int = 0

    @property
    def nbytes(self) -> int:
        return int(self.rows.nbytes)

    def decode(self, want_ids: bool, max_rejects: int | None) -> Batch:
        return decode_rows(self, want_ids, max_rejects)


class _Chunks(io.RawIOBase):
    """Pieces of a file at their places: reads as that file, OSError anywhere else. pieces: their offsets, bytes."""

    def __init__(self, pieces: tuple[tuple[int, bytes], ...]) -> None:
        self._pieces = pieces
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        end = max(start + len(data) for start, data in self._pieces)
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: end}[whence]
        return self._at

    def read(self, count: int = -1) -> bytes:
        for start, data in self._pieces:
            if start <= self._at < start + len(data):
                at = self._at - start
                taken = data[at:] if count < 0 else data[at : at + count]
                self._at += len(taken)
                return taken
        raise OSError(f"nothing to read at byte {self._at}")


@dataclasses.dataclass(frozen=True, eq=False)
class GroupBlock(AnyBlock):
    """A row group, still encoded, so that threads decode it. chunks: its columns, by their offset in the file.

    metadata: of the file. index: rows before the group in the file.
    """

    chunks: tuple[tuple[int, bytes], ...]
    metadata: pq.FileMetaData
    group: int
    source: str
    index: int
    arrived: int = 0

    @property
    def nbytes(self) -> int:
        return sum(len(data) for _, data in self.chunks)

    def decode(self, want_ids: bool, max_rejects: int | None) -> Batch:
        # Reading ahead would also read what is between the columns.
        file = pq.ParquetFile(_Chunks(self.chunks), metadata=self.metadata, read_dictionary=["event"], pre_buffer=False)
        blocks = _row_blocks(file, self.group, self.source, self.index)
        return Batch.concat([Batch.of([]), *(decode_rows(block, want_ids, max_rejects) for block in blocks)])


def _row_blocks(file: pq.ParquetFile, group: int, source: str, index: int) -> Iterator[RowBlock]:
    """The rows of a row group, in blocks of ROWS_A_BLOCK. index: rows before it."""
    try:
        for rows in file.iter_batches(ROWS_A_BLOCK, row_groups=[group], columns=list(FIELDS), use_threads=False):
            yield RowBlock(rows, source, index)
            index += rows.num_rows
    except (pa.ArrowException, OSError) as error:
        raise _damaged(source, index, error) from None


class ParquetReader:
    """Reads the three columns of a Parquet file, a row group at a time.

    Raises:
      InputError: it is not Parquet, or a column is missing or of another type.
    """

    def __init__(self, stream: BinaryIO, source: str) -> None:
        self._stream, self._source = stream, source
        try:
            self._file = pq.ParquetFile(stream)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{source}: not a Parquet file: {_seen(stream) or one_line(error)}") from None
        self._check_columns()

    def _check_columns(self) -> None:
        schema = self._file.schema_arrow
        for field in FIELDS:
            if schema.names.count(field) != 1:
                raise InputError(
                    f"{self._source}: has {schema.names.count(field)} columns named {field}, must have one"
                )
            kind = schema.field(field).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            wanted = pa.types.is_integer(kind) if field == "timestamp" else _is_string(kind)
            if not wanted:
                expected = "whole Unix seconds" if field == "timestamp" else "a string"
                raise InputError(f"{self._source}: column {field} is {kind}, must be {expected}")

    @property
    def groups(self) -> int:
        """How many row groups the file has."""
        return int(self._file.num_row_groups)

    def read_all(self) -> Iterator[AnyBlock]:
        """The rows of all row groups."""
        for group in range(self.groups):
            yield from self.read_group(group)

    def read_group(self, group: int) -> Iterator[AnyBlock]:
        """The rows of a row group: one block, or blocks of ROWS_A_BLOCK where it is large."""
        metadata = self._file.metadata
        rows = metadata.row_group(group).num_rows
        if not rows:
            return
        index = sum(metadata.row_group(k).num_rows for k in range(group))
        columns = self._columns(group)
        size = sum(max(c.total_compressed_size, c.total_uncompressed_size) for c in columns)
        if rows <= GROUP_ROWS and size <= GROUP_BYTES:
            yield GroupBlock(tuple(map(self._chunk, columns)), metadata, group, self._source, index)
        else:
            yield from _row_blocks(self._file, group, self._source, index)

    def _columns(self, group: int) -> list[pq.ColumnChunkMetaData]:
        row_group = self._file.metadata.row_group(group)
        columns = [row_group.column(k) for k in range(row_group.num_columns)]
        return [column for column in columns if column.path_in_schema in FIELDS]

    def _chunk(self, column: pq.ColumnChunkMetaData) -> tuple[int, bytes]:
        """Where a column begins in the file, and its bytes."""
        offset = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)))
        self._stream.seek(offset)
        return offset, self._stream.read(max(0, column.total_compressed_size))


def _seen(stream: BinaryIO) -> str | None:
    """What something else looks like."""
    stream.seek(0)
    what = looks_like(stream.read(HEAD_BYTES))
    return f"it looks like {what}" if what and what != PARQUET.name else None


def _damaged(source: str, index: int, error: Exception) -> InputError:
    return InputError(f"{source}: row {index}: damaged Parquet: {one_line(error)}")


def _is_string(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def decode_rows(block: RowBlock, want_ids: bool = True, max_rejects: int | None = None) -> Batch:
    """Decodes Parquet rows: the valid events as columns, the others as rejects with their row's index.

    Raises:
      InputError: the rows are damaged.
    """
    try:
        block.rows.validate(full=True)
    except pa.ArrowException as error:
        raise _damaged(block.source, block.index, error) from None
    ids, events, times = (block.rows.column(field) for field in FIELDS)
    ids, codes = ids.cast(pa.large_string()), _codes(events)
    if pa.types.is_uint64(times.type):
        times = pc.min_element_wise(times, pa.scalar(2**62, pa.uint64()))
    times = times.cast(pa.int64())
    in_range = pc.and_(pc.greater_equal(times, 0), pc.less(times, MAX_TIMESTAMP))
    good = pc.fill_null(pc.and_(pc.and_(in_range, pc.is_valid(codes)), pc.greater(pc.binary_length(ids), 0)), False)
    rejects: tuple[Reject, ...] = ()
    if good.true_count < len(good):
        bad = np.flatnonzero(~good.to_numpy(zero_copy_only=False)).tolist()
        rejects = tuple(_reject(block, row) for row in bad[:max_rejects])
        ids, codes, times = ids.filter(good), codes.filter(good), times.filter(good)
    return Batch(
        codes.to_numpy(zero_copy_only=False).astype(np.uint8),
        times.to_numpy(zero_copy_only=False),
        _ids(ids) if want_ids else NO_IDS,
        rejects,
        len(good) - good.true_count,
    )


def _codes(events: Any) -> pa.Int32Array:
    """Events as indexes into EVENT_TYPES, null where they are none."""
    if pa.types.is_dictionary(events.type):
        return _codes(events.dictionary).take(events.indices)
    return pc.index_in(events.cast(pa.large_string()), value_set=pa.array(EVENT_TYPES, pa.large_string()))


def _ids(column: pa.LargeStringArray) -> Ids:
    """An Arrow column without nulls as Ids."""
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    if len(column) == 0:
        return NO_IDS
    return Ids(ends[1:] - ends[0], np.frombuffer(data, np.uint8)[ends[0] : ends[-1]])


def _reject(block: RowBlock, row: int) -> Reject:
    record: dict[str, Any] = block.rows.slice(row, 1).to_pylist()[0]
    try:
        check_event(record)
        raise AssertionError(f"row {row} was refused by Arrow's comparison and taken by check_event: {record}")
    except EventError as error:
        return Reject(
            block.source, None, block.index + row, str(error), json.dumps(record, ensure_ascii=False)[:RAW_BYTES]
        )
