"""Reads Parquet through pyarrow: row groups become blocks of rows."""

import dataclasses
import io
import itertools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError, TooLargeError, one_line
from pipeline.formats.blocks import BLOCK_BYTES, HEAD_BYTES
from pipeline.formats.content import PARQUET, looks_like
from pipeline.formats.decoding import AnyBlock, Columns
from pipeline.formats.parquet_rows import check_columns, decode_rows
from pipeline.formats.reader import Reader, Source
from pipeline.schema import FIELDS

_BLOCK_ROWS = 64 * 1024
_BATCH_ROWS = 2048  # decoded at a time, as fast as 65,536
_SMALL_BATCH_ROWS = 128  # at half the speed
_BATCH_BYTES = 16 * 1024 * 1024
_SMALL_GROUP_BYTES = 1024 * 1024
_LARGE_GROUP_BYTES, _READ_BYTES = 256 * 1024 * 1024, 16 * 1024 * 1024


@dataclasses.dataclass(frozen=True, eq=False)
class RowBlock(AnyBlock):
    """A run of Parquet rows. rows: columns id, event, timestamp. index: how many rows of the file are before it."""

    rows: pa.Table
    source: str
    index: int
    arrived: int = 0
    balance: int = 0

    @property
    def nbytes(self) -> int:
        return int(self.rows.nbytes)

    @property
    def span(self) -> tuple[int, int]:
        return self.index, self.index + int(self.rows.num_rows)

    def _columns(self, want_ids: bool, max_rejects: int | None) -> Columns:
        return decode_rows(self.rows, self.source, self.index, want_ids, max_rejects), int(self.rows.num_rows)


class ParquetReader(Reader):
    """Reads the three columns of a Parquet file; a part is a run of row groups, of about split_bytes of the file.

    Statistics are not used, and row groups whose pages hold another number of rows than the footer says are damaged.
    """

    splits_are_independent = True

    def __init__(self, source: Source, split_bytes: int = BLOCK_BYTES, max_decoded_bytes: int | None = None) -> None:
        """Opens a file.

        Args:
          source: the open file.
          split_bytes: a file of this size or less has one part.
          max_decoded_bytes: bytes that the columns may have after decompression and decoding; None: any number.

        Raises:
          InputError: it is not Parquet, or a column is missing or of another type.
          TooLargeError: it has more than max_decoded_bytes; also while parts are read.
        """
        if not source.size:  # its end cannot be found, where the footer is
            source.stream.seek(0)
            source = source._replace(stream=io.BytesIO(source.stream.read()))
        super().__init__(source)
        self._limit, self._decoded_bytes, self._position = max_decoded_bytes, 0, 0
        self._shared = pa.PythonFile(source.stream, "r")  # for several threads, one at a time
        self._options: dict[str, Any] = {"pre_buffer": False, "page_checksum_verification": True}
        try:
            file = pq.ParquetFile(self._shared, **self._options)
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
            reason = f"row groups of {self.size()} rows, the file says {metadata.num_rows}"
            raise InputError(f"{source.name}: damaged Parquet: {reason}")
        if max(self._bytes, default=0) > _LARGE_GROUP_BYTES:
            self._options["buffer_size"] = _READ_BYTES  # else each column of a row group is read at once
        self._count_decoded(0)
        self.splits = max(1, min(len(groups), -(-source.size // split_bytes)))

    def _open(self) -> pq.ParquetFile:
        return pq.ParquetFile(self._shared, **self._options)

    def position(self) -> int:
        return self._position

    def size(self) -> int:
        return sum(self._rows)

    def read_split(self, part: int) -> Iterator[AnyBlock]:
        first, stop = (k * len(self._rows) // self.splits for k in (part, part + 1))
        index = sum(self._rows[:first])
        for rows in self._tables(range(first, stop)):
            yield RowBlock(rows, self._source.name, index)
            index += rows.num_rows

    def _tables(self, groups: range) -> Iterator[pa.Table]:
        """The rows of row groups, in tables large enough to be decoded by themselves; also those before an error."""
        waiting: list[pa.RecordBatch] = []
        rows = size = 0
        file = self._open()  # one of its own, since a thread may read another part
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
            raise _unreadable(self._source.name, f"row group {group}: ", error) from None
        if found != self._rows[group]:
            reason = f"row group {group} has {found} rows, the footer says {self._rows[group]}"
            raise InputError(f"{self._source.name}: damaged Parquet: {reason}")
        self._position = self._source.size * (group + 1) // len(self._rows)

    def _count_decoded(self, size: int) -> None:
        self._decoded_bytes += size
        if self._limit is not None and max(self._decoded_bytes, sum(self._bytes)) > self._limit:
            raise TooLargeError(f"{self._source.name}: has more than {self._limit} bytes after decompression")


def _without_arrow_types(metadata: pq.FileMetaData) -> pq.FileMetaData:
    """Metadata without the writer's Arrow schema, which asks for dictionaries.

    Arrow fails to read those of DELTA encodings, and reads pages wrongly whose dictionary holds a value twice.
    """
    sink = pa.BufferOutputStream()
    metadata.write_metadata_file(sink)
    return pq.read_metadata(pa.BufferReader(sink.getvalue().to_pybytes().replace(b"ARROW:schema", b"arrow-schema")))


def _rows_at_a_time(group_bytes: int, rows: int) -> int:
    """How many rows of a row group to decode at once, so that memory is bounded. group_bytes: after decompression.

    Many rows can share a value that is stored once, in a dictionary: 713 bytes can stand for 3 GB. So in a small row
    group each row is taken to be as large as the whole group.
    """
    is_small = group_bytes <= _SMALL_GROUP_BYTES
    row_bytes = group_bytes if is_small else group_bytes // max(1, rows)
    return min(_BATCH_ROWS, max(_SMALL_BATCH_ROWS if is_small else 1, _BATCH_BYTES // max(1, row_bytes)))


def _not_parquet(source: Source, error: Exception) -> Exception:
    """The error of a file that pyarrow cannot open."""
    source.stream.seek(0)
    what = looks_like(source.stream.read(HEAD_BYTES))
    if what == PARQUET.name:
        return _unreadable(source.name, "", error)
    return InputError(f"{source.name}: not a Parquet file: {f'it looks like {what}' if what else one_line(error)}")


def _unreadable(source: str, where: str, error: Exception) -> Exception:
    """The error of a Parquet file that pyarrow cannot read; the error itself where it is the file system's."""
    if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
        return error
    if "decrypt" in str(error):
        return InputError(f"{source}: cannot be read: it is encrypted Parquet")
    if isinstance(error, MemoryError):
        return InputError(f"{source}: cannot be read: {where}{one_line(error)}")
    if isinstance(error, NotImplementedError):
        return InputError(f"{source}: cannot be read: pyarrow does not support this Parquet: {one_line(error)}")
    return InputError(f"{source}: damaged Parquet: {where}{one_line(error)}")
