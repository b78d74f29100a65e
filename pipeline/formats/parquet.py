"""Reads Parquet: row groups become batches without passing through JSON."""

import dataclasses
import io
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError, one_line
from pipeline.formats.blocks import HEAD_BYTES
from pipeline.formats.content import PARQUET, looks_like
from pipeline.formats.decoding import AnyBlock, Decoded
from pipeline.formats.parquet_files import FileStream, LocalFile, Pieces
from pipeline.formats.parquet_pages import Chunk, read_as_dictionary, read_groups, without_arrow_types
from pipeline.formats.parquet_rows import check_columns, damaged, decode_rows
from pipeline.formats.reader import Reader, Source
from pipeline.model.events import Batch
from pipeline.schema import FIELDS

ROWS_A_BLOCK = 64 * 1024
"""Rows of a block where a row group is too large to be one."""

GROUP_BYTES, GROUP_ROWS = 48 * 1024 * 1024, 1024 * 1024
"""Larger row groups are decoded as they are read, in parts: several wait in memory at a time."""


@dataclasses.dataclass(frozen=True, eq=False)
class RowBlock(AnyBlock):
    """A run of Parquet rows. rows: columns id, event, timestamp. index: how many rows of the file are before it."""

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

    def _decode(self, want_ids: bool, max_rejects: int | None) -> Decoded:
        return decode_rows(self.rows, self.source, self.index, want_ids, max_rejects), self._count()

    def _count(self) -> int:
        return int(self.rows.num_rows)


@dataclasses.dataclass(frozen=True, eq=False)
class GroupBlock(AnyBlock):
    """A row group, still encoded, so that threads decode it. chunks: its columns, in the order of FIELDS.

    ids_needed: whether ids must be checked even if they are not wanted, since some may be missing or empty.
    metadata: the file's. group: the row group's number. index: how many rows of the file are before it.
    """

    file: LocalFile | Pieces
    chunks: tuple[Chunk, ...]
    ids_needed: bool
    metadata: pq.FileMetaData
    group: int
    source: str
    index: int
    arrived: int = 0
    balance: int = 0

    @property
    def nbytes(self) -> int:
        return sum(chunk.size for chunk in self.chunks)

    @property
    def span(self) -> tuple[int, int]:
        return self.index, self.index + self._count()

    def _count(self) -> int:
        return int(self.metadata.row_group(self.group).num_rows)

    def _decode(self, want_ids: bool, max_rejects: int | None) -> Decoded:
        return self._decode_group(want_ids, max_rejects), self._count()

    def _decode_group(self, want_ids: bool, max_rejects: int | None) -> Batch:
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
        event = self.chunks[FIELDS.index("event")]
        start = self.file.read_at(event.offset, min(event.size, HEAD_BYTES))
        # Reading ahead would also read what is between the columns.
        dictionaries = ["event"] if read_as_dictionary(start, event) else None
        return pq.ParquetFile(
            FileStream(self.file), metadata=self.metadata, read_dictionary=dictionaries, pre_buffer=False
        )

    def __reduce__(self) -> Any:  # a runner that ships blocks ships their bytes
        file = self.file
        if isinstance(file, LocalFile):
            file = Pieces.read(cast(BinaryIO, FileStream(file)), self.chunks)
        more = (self.metadata, self.group, self.source, self.index, self.arrived, self.balance)
        return GroupBlock, (file, self.chunks, self.ids_needed, *more)


def _row_blocks(
    file: pq.ParquetFile, group: int, columns: tuple[str, ...], source: str, index: int
) -> Iterator[RowBlock]:
    """The rows of a row group, in blocks of ROWS_A_BLOCK. index: how many rows of the file are before it."""
    try:
        for rows in file.iter_batches(ROWS_A_BLOCK, row_groups=[group], columns=list(columns), use_threads=False):
            yield RowBlock(rows, source, index)
            index += rows.num_rows
    except (pa.ArrowException, OSError) as error:
        raise damaged(source, index, error) from None


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
            schema = self._file.schema
            leaves = {schema.column(k).path: k for k in range(len(schema))}
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise InputError(f"{name}: not a Parquet file: {_seen(stream) or one_line(error)}") from None
        check_columns(
            self._file.schema_arrow, {leaf: schema.column(k).logical_type.type for leaf, k in leaves.items()}, name
        )
        self._groups = int(self._file.num_row_groups)
        self.parts = 1 if source.size <= cell_bytes else self._groups
        self._starts = _starts(self._file.metadata, name)
        self._ids_required = schema.column(leaves["id"]).max_definition_level == 0
        self._known = read_groups(stream, [leaves[field] for field in FIELDS])
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
        chunks = self._known[group].chunks if self._known else ()
        self._position = max((chunk.offset + chunk.size for chunk in chunks), default=0)
        size = sum(max(chunk.size, chunk.plain_size) for chunk in chunks)
        if not chunks or end - index > GROUP_ROWS or size > GROUP_BYTES:
            yield from _row_blocks(self._file, group, FIELDS, self._source.name, index)
            return
        file = self._local or Pieces.read(self._source.stream, chunks)
        ids_needed = not chunks[FIELDS.index("id")].never_empty(self._ids_required)
        yield GroupBlock(file, chunks, ids_needed, self._file.metadata, group, self._source.name, index)


def _starts(metadata: pq.FileMetaData, source: str) -> list[int]:
    """How many rows are before each row group, then in all. InputError where the file's own number differs."""
    rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    if sum(rows) != metadata.num_rows or min(rows, default=0) < 0:
        raise InputError(
            f"{source}: damaged Parquet: row groups of {sum(rows)} rows, the file says {metadata.num_rows}"
        )
    return [0, *np.cumsum(rows, dtype=np.int64).tolist()]


def _in_memory(source: Source) -> Source:
    """The source read into memory: without a size its end cannot be found, where the footer is."""
    source.stream.seek(0)
    return source._replace(stream=io.BytesIO(source.stream.read()), is_local=False)


def _seen(stream: BinaryIO) -> str | None:
    """In words, what a file that is not Parquet looks like, or None."""
    stream.seek(0)
    what = looks_like(stream.read(HEAD_BYTES))
    return f"it looks like {what}" if what and what != PARQUET.name else None
