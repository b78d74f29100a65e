"""Reads Parquet through pyarrow: row groups become blocks of rows."""

import dataclasses
import io
import itertools
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError, TooLargeError, one_line
from pipeline.formats.blocks import BLOCK_BYTES, HEAD_BYTES
from pipeline.formats.content import PARQUET, looks_like
from pipeline.formats.decoding import AnyBlock, Columns
from pipeline.formats.parquet_rows import check_columns, decode_rows
from pipeline.formats.readers import Reader, Source
from pipeline.schema import FIELDS

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
        view = _View(self._source.stream, self._lock)
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


class _View(io.RawIOBase):
    """A stream with its own position, for a stream that threads share: opening a pyarrow file seeks in its stream."""

    def __init__(self, stream: BinaryIO, lock: threading.Lock) -> None:
        self._stream, self._lock, self._position = stream, lock, 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with self._lock:
            self._stream.seek(self._position)
            self._position = self._stream.seek(offset, whence)
        return self._position

    def read(self, size: int = -1) -> bytes:
        with self._lock:
            self._stream.seek(self._position)
            data = self._stream.read(size)
        self._position += len(data)
        return data


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
