"""Parquet: row groups become batches without passing through JSON."""

import dataclasses
import io
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError, one_line
from pipeline.formats.blocks import HEAD_BYTES
from pipeline.formats.content import PARQUET, looks_like
from pipeline.formats.decoding import AnyBlock
from pipeline.formats.parquet_pages import never_empty, read_as_dictionary, without_arrow_types
from pipeline.formats.parquet_rows import check_columns, damaged, decode_rows
from pipeline.model.events import Batch
from pipeline.schema import FIELDS

ROWS_A_BLOCK = 64 * 1024

GROUP_BYTES, GROUP_ROWS = 48 * 1024 * 1024, 1024 * 1024
"""A row group of more is decoded as it is read: several wait at a time, and none must be in memory as a whole."""

_PADDING = 100  # bytes that Arrow reads behind a column of old writers, which left a page header out of its size


@dataclasses.dataclass(frozen=True, eq=False)
class RowBlock(AnyBlock):
    """A run of Parquet rows. rows: columns id, event, timestamp. index: rows before it in the file."""

    rows: pa.RecordBatch
    source: str
    index: int
    arrived: int = 0
    balance: int = 0

    @property
    def nbytes(self) -> int:
        return int(self.rows.nbytes)

    @property
    def span(self) -> tuple[int, int]:
        return self.index, self.index + self._count()

    def _decode(self, want_ids: bool, max_rejects: int | None) -> Batch:
        return decode_rows(self.rows, self.source, self.index, want_ids, max_rejects)

    def _count(self) -> int:
        return int(self.rows.num_rows)


class Span(NamedTuple):
    """A column chunk's place in a file."""

    offset: int
    size: int


class LocalFile(NamedTuple):
    """A file on this machine, to be read where it is decoded. identity: what tells that it is still the same."""

    path: str
    identity: tuple[int, ...]

    def open(self) -> pa.NativeFile:
        """OSError where it is gone, or another one."""
        if _identity(os.stat(self.path)) != self.identity:
            raise OSError("the file has changed since it was opened")
        return pa.OSFile(os.fsencode(self.path), "r")

    def start(self, span: Span) -> bytes:
        """The first bytes of a column chunk."""
        with open(self.path, "rb") as stream:
            stream.seek(span.offset)
            return stream.read(min(span.size, HEAD_BYTES))


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class Pieces(NamedTuple):
    """A file of which some pieces are here, by their offsets. size: the file's."""

    pieces: tuple[tuple[int, bytes], ...]
    size: int

    @classmethod
    def read(cls, stream: Any, spans: tuple[Span, ...], size: int) -> "Pieces":
        """Reads column chunks of a stream."""
        pieces = []
        for span in spans:
            stream.seek(span.offset)
            pieces.append((span.offset, stream.read(span.size + _PADDING)))
        return cls(tuple(pieces), size)

    def open(self) -> "_PiecesStream":
        return _PiecesStream(self)

    def start(self, span: Span) -> bytes:
        """The first bytes of a column chunk."""
        return dict(self.pieces)[span.offset][:HEAD_BYTES]


class _PiecesStream(io.RawIOBase):
    """Reads as the file; OSError where no piece is."""

    def __init__(self, file: Pieces) -> None:
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._file.size}[whence]
        return self._at

    def read(self, count: int = -1) -> bytes:
        for start, data in self._file.pieces:
            at = self._at - start
            if at >= 0 and at + max(count, 1) <= len(data):
                taken = data[at:] if count < 0 else data[at : at + count]
                self._at += len(taken)
                return taken
        raise OSError(f"nothing to read at byte {self._at}")


@dataclasses.dataclass(frozen=True, eq=False)
class GroupBlock(AnyBlock):
    """A row group, still encoded, so that threads decode it. spans: of its columns, in the order of FIELDS.

    ids_needed: whether ids must be looked at even where nobody wants them, since some may be missing or empty.
    metadata: of the file. index: rows before the group in the file.
    """

    file: LocalFile | Pieces
    spans: tuple[Span, ...]
    ids_needed: bool
    metadata: pq.FileMetaData
    group: int
    source: str
    index: int
    arrived: int = 0
    balance: int = 0

    @property
    def nbytes(self) -> int:
        return sum(span.size for span in self.spans)

    @property
    def span(self) -> tuple[int, int]:
        return self.index, self.index + self._count()

    def _count(self) -> int:
        return int(self.metadata.row_group(self.group).num_rows)

    def _decode(self, want_ids: bool, max_rejects: int | None) -> Batch:
        if not (want_ids or self.ids_needed):
            batch = self._decode_columns(FIELDS[1:], False, 0)
            if not batch.rejected:  # they are shown with their ids
                return batch
        return self._decode_columns(FIELDS, want_ids, max_rejects)

    def _decode_columns(self, columns: tuple[str, ...], want_ids: bool, max_rejects: int | None) -> Batch:
        try:
            # Reading ahead would also read what is between the columns.
            with self.file.open() as stream, self._open(stream) as file:
                blocks = _row_blocks(file, self.group, columns, self.source, self.index)
                return Batch.concat([Batch.of([]), *(block.decode(want_ids, max_rejects) for block in blocks)])
        except OSError as error:
            raise damaged(self.source, self.index, error) from None

    def _open(self, stream: Any) -> pq.ParquetFile:
        event, column = FIELDS.index("event"), _columns(self.metadata, self.group)["event"]
        as_dictionary = read_as_dictionary(self.file.start(self.spans[event]), column)
        dictionaries = ["event"] if as_dictionary else None
        return pq.ParquetFile(stream, metadata=self.metadata, read_dictionary=dictionaries, pre_buffer=False)

    def __reduce__(self) -> Any:  # a runner that ships blocks ships their bytes
        file = self.file
        if isinstance(file, LocalFile):
            with file.open() as stream:
                file = Pieces.read(stream, self.spans, stream.size())
        more = (self.metadata, self.group, self.source, self.index, self.arrived, self.balance)
        return GroupBlock, (file, self.spans, self.ids_needed, *more)


def _row_blocks(
    file: pq.ParquetFile, group: int, columns: tuple[str, ...], source: str, index: int
) -> Iterator[RowBlock]:
    """The rows of a row group, in blocks of ROWS_A_BLOCK. index: rows before it."""
    try:
        for rows in file.iter_batches(ROWS_A_BLOCK, row_groups=[group], columns=list(columns), use_threads=False):
            yield RowBlock(rows, source, index)
            index += rows.num_rows
    except (pa.ArrowException, OSError) as error:
        raise damaged(source, index, error) from None


def _columns(metadata: pq.FileMetaData, group: int) -> dict[str, pq.ColumnChunkMetaData]:
    row_group = metadata.row_group(group)
    columns = [row_group.column(k) for k in range(row_group.num_columns)]
    return {column.path_in_schema: column for column in columns if column.path_in_schema in FIELDS}


class ParquetReader:
    """Reads the three columns of a Parquet file, a row group at a time.

    path: of a file on this machine, which is then read in the threads that decode it. Raises:
      InputError: it is not Parquet, or a column is missing or of another type.
    """

    def __init__(self, stream: BinaryIO, source: str, path: str | None = None) -> None:
        self._stream, self._source = stream, source
        try:
            self._file = pq.ParquetFile(stream)
            if any(pa.types.is_dictionary(kind) for kind in self._file.schema_arrow.types):
                self._file = pq.ParquetFile(stream, metadata=without_arrow_types(self._file.metadata))
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{source}: not a Parquet file: {_seen(stream) or one_line(error)}") from None
        schema = self._file.schema
        self._leaves = {schema.column(k).path: schema.column(k) for k in range(len(schema))}
        annotations = {name: leaf.logical_type.type for name, leaf in self._leaves.items()}
        check_columns(self._file.schema_arrow, annotations, source)
        metadata = self._file.metadata
        rows = [metadata.row_group(group).num_rows for group in range(self.groups)]
        self._starts = np.cumsum([0, *rows]).tolist()
        self._local = LocalFile(path, _identity(os.fstat(stream.fileno()))) if path else None

    @property
    def groups(self) -> int:
        """How many row groups the file has."""
        return int(self._file.num_row_groups)

    @property
    def rows(self) -> int:
        """How many rows the file has, as its metadata says."""
        return int(self._file.metadata.num_rows)

    def read_all(self) -> Iterator[AnyBlock]:
        """The rows of all row groups."""
        for group in range(self.groups):
            yield from self.read_group(group)

    def read_group(self, group: int) -> Iterator[AnyBlock]:
        """The rows of a row group: one block, or blocks of ROWS_A_BLOCK where it is large."""
        index, end = self._starts[group : group + 2]
        if index == end:
            return
        columns = _columns(self._file.metadata, group)
        size = sum(max(c.total_compressed_size, c.total_uncompressed_size) for c in columns.values())
        if end - index > GROUP_ROWS or size > GROUP_BYTES:
            yield from _row_blocks(self._file, group, FIELDS, self._source, index)
            return
        spans = tuple(_span(columns[field]) for field in FIELDS)
        file = self._local or Pieces.read(self._stream, spans, self._stream.seek(0, os.SEEK_END))
        ids_needed = not never_empty(columns["id"], self._leaves["id"])
        yield GroupBlock(file, spans, ids_needed, self._file.metadata, group, self._source, index)


def _span(column: pq.ColumnChunkMetaData) -> Span:
    offset = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)))
    return Span(offset, max(0, column.total_compressed_size))


def _seen(stream: BinaryIO) -> str | None:
    """What something else looks like."""
    stream.seek(0)
    what = looks_like(stream.read(HEAD_BYTES))
    return f"it looks like {what}" if what and what != PARQUET.name else None
