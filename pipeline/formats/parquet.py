"""Parquet through pyarrow: row groups become blocks of rows, and rows become events and rejects."""

import dataclasses
import io
import itertools
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import EventError, InputError, TooLargeError, one_line
from pipeline.formats.blocks import BLOCK_BYTES, HEAD_BYTES
from pipeline.formats.content import PARQUET, looks_like
from pipeline.formats.decoding import AnyBlock, Columns
from pipeline.formats.readers import Reader, Source, StreamView
from pipeline.model.events import NO_IDS, Batch, Ids, Reject
from pipeline.schema import EVENT_TYPES, FIELDS, MAX_TIMESTAMP, RAW_BYTES, check_event

_CODES = pa.array([name.encode() for name in EVENT_TYPES], pa.large_binary())

_BLOCK_ROWS = 64 * 1024
_BATCH_ROWS = 2048  # decoded at a time, as fast as 65,536
_SMALL_BATCH_ROWS = 128  # at half the speed
_BATCH_BYTES = 16 * 1024 * 1024
_SMALL_GROUP_BYTES = 1024 * 1024
_LARGE_GROUP_BYTES, _READ_BYTES = 256 * 1024 * 1024, 16 * 1024 * 1024


@dataclasses.dataclass(frozen=True, eq=False)
class RowBlock(AnyBlock):
    """Consecutive Parquet rows. rows: columns id, event, timestamp. index: number of rows before it in the file."""

    rows: pa.Table
    source: str
    index: int
    arrived: int = 0
    coverage_delta: int = 0

    @property
    def nbytes(self) -> int:
        return int(self.rows.nbytes)

    @property
    def span(self) -> tuple[int, int]:
        return self.index, self.index + int(self.rows.num_rows)

    def _columns(self, want_ids: bool, max_rejects: int | None) -> Columns:
        return decode_rows(self.rows, self.source, self.index, want_ids, max_rejects), int(self.rows.num_rows)


class ParquetReader(Reader):
    """Reads the three columns of a Parquet file; a split has consecutive row groups, about split_bytes of the file.

    Ignores statistics. Checks that row groups have as many rows as the footer promises.
    """

    splits_are_independent = True

    def __init__(self, source: Source, split_bytes: int = BLOCK_BYTES, max_decoded_bytes: int | None = None) -> None:
        """Opens a file.

        Args:
          source: the open file.
          split_bytes: a file of this size or less has one split.
          max_decoded_bytes: maximum size of the columns after decompression and decoding; None: unlimited.

        Raises:
          InputError: it is not Parquet, or a column is missing or of another type.
          TooLargeError: it has more than max_decoded_bytes; also while splits are read.
        """
        if not source.size:  # not seekable from the end, where the footer is
            source.stream.seek(0)
            source = source._replace(stream=io.BytesIO(source.stream.read()))
        super().__init__(source)
        self._limit, self._decoded_bytes, self._bytes_read = max_decoded_bytes, 0, 0
        self._lock = threading.Lock()
        self._options: dict[str, Any] = {"pre_buffer": False, "page_checksum_verification": True}
        try:
            file = self._open()
            if any(pa.types.is_dictionary(kind) for kind in file.schema_arrow.types):
                self._options["metadata"] = _without_arrow_types(file.metadata)
                file = self._open()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _not_parquet(source, error) from None
        schema, metadata = file.schema, file.metadata
        self._options["metadata"] = metadata
        leaves = [schema.column(k) for k in range(len(schema))]
        check_columns(file.schema_arrow, {leaf.path: leaf.logical_type.type for leaf in leaves}, source.name)
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        self._rows = [group.num_rows for group in groups]
        self._bytes = [group.total_byte_size for group in groups]
        if self.size() != metadata.num_rows or min(self._rows, default=0) < 0:
            reason = f"row groups have {self.size()} rows, the footer says {metadata.num_rows}"
            raise InputError(f"{source.name}: damaged Parquet: {reason}")
        if max(self._bytes, default=0) > _LARGE_GROUP_BYTES:
            self._options["buffer_size"] = _READ_BYTES  # otherwise the columns of a row group are read at once
        self._count_decoded(0)
        self.splits = max(1, min(len(groups), -(-source.size // split_bytes)))

    def _open(self) -> pq.ParquetFile:
        view = StreamView(self._source.stream, self._lock)
        return pq.ParquetFile(pa.PythonFile(view, "r"), **self._options)

    def bytes_read(self) -> int:
        return self._bytes_read

    def size(self) -> int:
        return sum(self._rows)

    def read_split(self, split: int) -> Iterator[AnyBlock]:
        first, stop = (k * len(self._rows) // self.splits for k in (split, split + 1))
        index = sum(self._rows[:first])
        for rows in self._tables(range(first, stop)):
            yield RowBlock(rows, self._source.name, index)
            index += rows.num_rows

    def _tables(self, groups: range) -> Iterator[pa.Table]:
        """Yields the rows of row groups in tables of efficient size, including the rows before an error."""
        waiting: list[pa.RecordBatch] = []
        rows = size = 0
        file = self._open()  # other threads may read other splits
        try:
            for batch in itertools.chain.from_iterable(self._read_group(file, group) for group in groups):
                waiting.append(batch)
                rows, size = rows + batch.num_rows, size + batch.nbytes
                if rows >= _BLOCK_ROWS or size >= BLOCK_BYTES:
                    self._count_decoded(size)
                    yield pa.Table.from_batches(waiting)
                    waiting, rows, size = [], 0, 0
            self._count_decoded(size)
        except InputError:
            if rows:
                yield pa.Table.from_batches(waiting)
            raise
        if rows:
            yield pa.Table.from_batches(waiting)

    def _read_group(self, file: pq.ParquetFile, group: int) -> Iterator[pa.RecordBatch]:
        count, found = _rows_at_a_time(self._bytes[group], self._rows[group]), 0
        try:
            for rows in file.iter_batches(count, row_groups=[group], columns=[*FIELDS], use_threads=False):
                found += rows.num_rows
                yield rows
        except (pa.ArrowException, OSError) as error:
            raise _read_error(self._source.name, f"row group {group}: ", error) from None
        if found != self._rows[group]:
            reason = f"row group {group} has {found} rows, the footer says {self._rows[group]}"
            raise InputError(f"{self._source.name}: damaged Parquet: {reason}")
        self._bytes_read = self._source.size * (group + 1) // len(self._rows)

    def _count_decoded(self, size: int) -> None:
        self._decoded_bytes += size
        if self._limit is not None and max(self._decoded_bytes, sum(self._bytes)) > self._limit:
            raise TooLargeError(f"{self._source.name}: has more than {self._limit} bytes after decompression")


def _without_arrow_types(metadata: pq.FileMetaData) -> pq.FileMetaData:
    """Returns metadata without the writer's Arrow schema, which requests dictionary columns.

    Arrow cannot read these from DELTA encodings, and misreads pages whose dictionary has a duplicate value.
    """
    sink = pa.BufferOutputStream()
    metadata.write_metadata_file(sink)
    return pq.read_metadata(pa.BufferReader(sink.getvalue().to_pybytes().replace(b"ARROW:schema", b"arrow-schema")))


def _rows_at_a_time(group_bytes: int, rows: int) -> int:
    """Returns the number of rows to decode at once in bounded memory. group_bytes: of the row group, decompressed.

    Many rows can share a value of a dictionary: 713 bytes can expand to 3 GB. So in a small row group each row is
    assumed to be as large as the whole group.
    """
    is_small = group_bytes <= _SMALL_GROUP_BYTES
    row_bytes = group_bytes if is_small else group_bytes // max(1, rows)
    return min(_BATCH_ROWS, max(_SMALL_BATCH_ROWS if is_small else 1, _BATCH_BYTES // max(1, row_bytes)))


def _not_parquet(source: Source, error: Exception) -> Exception:
    """Returns the error of a file that pyarrow cannot open."""
    source.stream.seek(0)
    what = looks_like(source.stream.read(HEAD_BYTES))
    if what == PARQUET.name:
        return _read_error(source.name, "", error)
    return InputError(f"{source.name}: not a Parquet file: {f'it looks like {what}' if what else one_line(error)}")


def _read_error(source: str, where: str, error: Exception) -> Exception:
    """Returns the error of a Parquet file that pyarrow cannot read; file system errors are returned as they are."""
    if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
        return error
    if "decrypt" in str(error):
        return InputError(f"{source}: cannot be read: encrypted Parquet")
    if isinstance(error, MemoryError):
        return InputError(f"{source}: cannot be read: {where}{one_line(error)}")
    if isinstance(error, NotImplementedError):
        return InputError(f"{source}: cannot be read: pyarrow does not support this Parquet: {one_line(error)}")
    return InputError(f"{source}: damaged Parquet: {where}{one_line(error)}")


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
    times = rows.column("timestamp").combine_chunks().cast(pa.int64(), safe=False)  # from 2**63 on negative
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


def _are_utf_8(texts: pa.LargeBinaryArray) -> pa.BooleanArray:
    try:
        texts.cast(pa.large_string())
    except pa.ArrowInvalid:  # 65,536 rows: 20 ms
        return pa.array([text is None or _is_utf_8(text) for text in texts.to_pylist()])
    return pa.scalar(True)


def _is_utf_8(text: bytes) -> bool:
    return text.decode(errors="ignore").encode() == text


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
