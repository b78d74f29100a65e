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
from pipeline.formats.readers import Reader, Source
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


class LocalFile:
    """A file on this machine, open as long as blocks need it, to be read where they are decoded."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        self.size = os.fstat(descriptor).st_size

    def __del__(self) -> None:
        os.close(self._descriptor)

    def read_at(self, offset: int, count: int) -> bytes:
        """So many bytes from there on; fewer at the end."""
        data = os.pread(self._descriptor, count, offset)
        while (
            data and len(data) < count and (more := os.pread(self._descriptor, count - len(data), offset + len(data)))
        ):
            data += more
        return data


@dataclasses.dataclass(frozen=True)
class Pieces:
    """A file of which some pieces are here, by their offsets. size: the file's."""

    pieces: tuple[tuple[int, bytes], ...]
    size: int

    @classmethod
    def read(cls, file: LocalFile | BinaryIO, spans: tuple[Span, ...]) -> "Pieces":
        """Reads column chunks."""
        if isinstance(file, LocalFile):
            return cls(
                tuple((span.offset, file.read_at(span.offset, span.size + _PADDING)) for span in spans), file.size
            )
        size, pieces = file.seek(0, os.SEEK_END), []
        for span in spans:
            file.seek(span.offset)
            pieces.append((span.offset, file.read(span.size + _PADDING)))
        return cls(tuple(pieces), size)

    def read_at(self, offset: int, count: int) -> bytes:
        """So many bytes from there on. Raises OSError where no piece has them."""
        for start, data in self.pieces:
            at = offset - start
            if at >= 0 and at + count <= len(data):
                return data[at : at + count]
        raise OSError(f"nothing to read at byte {offset}")


class _Stream(io.RawIOBase):
    """Reads a file, with a position of its own."""

    def __init__(self, file: LocalFile | Pieces) -> None:
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
        data = self._file.read_at(self._at, count if count >= 0 else max(0, self._file.size - self._at))
        self._at += len(data)
        return data


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
            blocks = _row_blocks(self._open(), self.group, columns, self.source, self.index)
            return Batch.concat([Batch.of([]), *(block.decode(want_ids, max_rejects) for block in blocks)])
        except OSError as error:
            raise damaged(self.source, self.index, error) from None

    def _open(self) -> pq.ParquetFile:
        offset, size = self.spans[FIELDS.index("event")]
        start, column = self.file.read_at(offset, min(size, HEAD_BYTES)), _columns(self.metadata, self.group)["event"]
        # Reading ahead would also read what is between the columns.
        dictionaries = ["event"] if read_as_dictionary(start, column) else None
        return pq.ParquetFile(
            _Stream(self.file), metadata=self.metadata, read_dictionary=dictionaries, pre_buffer=False
        )

    def __reduce__(self) -> Any:  # a runner that ships blocks ships their bytes
        file = self.file
        if isinstance(file, LocalFile):
            file = Pieces.read(file, self.spans)
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


class ParquetReader(Reader):
    """Reads the three columns of a Parquet file: a part is a row group, or all of them in a file of cell_bytes or less.

    A file on this machine is read in the threads that decode it. Raises:
      InputError: it is not Parquet, or a column is missing or of another type.
    """

    def __init__(self, source: Source, cell_bytes: int = 0) -> None:
        super().__init__(source if source.size else _in_memory(source))
        stream, name = self._source.stream, source.name
        self._position = 0  # where the columns end of the last row group that was read
        try:
            self._file = pq.ParquetFile(stream)
            if any(pa.types.is_dictionary(kind) for kind in self._file.schema_arrow.types):
                self._file = pq.ParquetFile(stream, metadata=without_arrow_types(self._file.metadata))
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{name}: not a Parquet file: {_seen(stream) or one_line(error)}") from None
        schema = self._file.schema
        self._leaves = {schema.column(k).path: schema.column(k) for k in range(len(schema))}
        annotations = {name: leaf.logical_type.type for name, leaf in self._leaves.items()}
        check_columns(self._file.schema_arrow, annotations, name)
        metadata = self._file.metadata
        self._groups = int(self._file.num_row_groups)
        self.parts = 1 if source.size <= cell_bytes else self._groups
        rows = [metadata.row_group(group).num_rows for group in range(self._groups)]
        self._starts = np.cumsum([0, *rows]).tolist()
        self._local = LocalFile(stream.fileno()) if self._source.is_local else None

    def position(self) -> int:
        return self._position

    def size(self) -> int:
        """How many rows the file has, as its metadata says."""
        return int(self._file.metadata.num_rows)

    def read_part(self, part: int) -> Iterator[AnyBlock]:
        for group in range(self._groups) if self.parts == 1 else (part,):
            yield from self._read_group(group)

    def _read_group(self, group: int) -> Iterator[AnyBlock]:
        """The rows of a row group: one block, or blocks of ROWS_A_BLOCK where it is large."""
        index, end = self._starts[group : group + 2]
        if index == end:
            return
        columns = _columns(self._file.metadata, group)
        spans = tuple(_span(columns[field]) for field in FIELDS)
        self._position = max(span.offset + span.size for span in spans)
        size = sum(max(c.total_compressed_size, c.total_uncompressed_size) for c in columns.values())
        if end - index > GROUP_ROWS or size > GROUP_BYTES:
            yield from _row_blocks(self._file, group, FIELDS, self._source.name, index)
            return
        file = self._local or Pieces.read(self._source.stream, spans)
        ids_needed = not never_empty(columns["id"], self._leaves["id"])
        yield GroupBlock(file, spans, ids_needed, self._file.metadata, group, self._source.name, index)


def _in_memory(source: Source) -> Source:
    """What a file system gives that tells no size, and so cannot be read from its end."""
    source.stream.seek(0)
    return source._replace(stream=io.BytesIO(source.stream.read()), is_local=False)


def _span(column: pq.ColumnChunkMetaData) -> Span:
    offset = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)))
    return Span(offset, max(0, column.total_compressed_size))


def _seen(stream: BinaryIO) -> str | None:
    """What something else looks like."""
    stream.seek(0)
    what = looks_like(stream.read(HEAD_BYTES))
    return f"it looks like {what}" if what and what != PARQUET.name else None
