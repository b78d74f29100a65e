"""Sources: from file patterns on any Beam file system to blocks, split over workers where the format allows it."""

import dataclasses
import io
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker
from apache_beam.transforms.core import RestrictionProvider

from pipeline.engine import (
    coders,  # noqa: F401 (registers how blocks travel)
    progress,
)
from pipeline.errors import InputError, PipelineError
from pipeline.formats.blocks import BLOCK_BYTES, LineReader, first_bytes, head_of, is_array, read_blocks
from pipeline.formats.content import JSON, PARQUET, check_form, check_json, form_of_name
from pipeline.formats.decoding import AnyBlock, Block, BrokenBlock, Shape
from pipeline.model.balance import Ledger
from pipeline.storage.files import SIZE_UNKNOWN, InputFile, explain, is_io_error, is_local

_PARTS_A_SPLIT = 16  # of 4 MiB each: 64 MiB, the usual size of a Beam bundle
LARGE_BYTES = 256 * 1024 * 1024
"""What is worth a warning if one worker reads it alone: about a second for JSON, several for what is compressed."""


class Reader(NamedTuple):
    """An open file: how many parts it has, what part k holds, and how far (bytes) it was read.

    size: of what it holds, in the unit of its blocks' spans, once its last part was read; known without the blocks.
    is_compressed: by its name or its content.
    """

    parts: int
    read_part: Callable[[int], Iterator[AnyBlock]]
    position: Callable[[], int]
    size: Callable[[], int]
    is_compressed: bool = False


@contextmanager
def open_file(file: InputFile, cell_bytes: int = BLOCK_BYTES, array: bool = True) -> Iterator[Reader]:
    """Opens a file by its format: Parquet has a part a row group, plain JSON Lines one a cell of 4 MiB, others one.

    The format is as the name says, else as the first bytes say. A file of one cell or less has one part. array: whether
    it may be a JSON array; where it is known not to be one, its first bytes need not be fetched. Raises:
      InputError: it cannot be opened, or not read to its end; also while its parts are read.
    """
    with _opened(file) as stream:
        yield _reader(stream, _sized(stream, file), cell_bytes, array)


@contextmanager
def open_lines(file: InputFile) -> Iterator[BinaryIO]:
    """A file's decompressed bytes, from the first on. Raises InputError as open_file does."""
    with _opened(file) as stream:
        form = check_form(file.name, form_of_name(file.path), first_bytes(stream).head)
        stream.seek(0)
        yield io.BufferedReader(form.codec.open(stream)) if form and form.codec else stream  # type: ignore[type-var]


@contextmanager
def _opened(file: InputFile) -> Iterator[BinaryIO]:
    try:
        with FileSystems.open(file.path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            yield stream
    except Exception as error:
        if not is_io_error(error):
            raise
        raise InputError(f"{file.name}: cannot be read: {explain(error)}") from None


def _sized(stream: BinaryIO, file: InputFile) -> InputFile:
    if file.size != SIZE_UNKNOWN:
        return file
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    return file._replace(size=size)


def _reader(stream: BinaryIO, file: InputFile, cell_bytes: int, array: bool) -> Reader:
    form, head = form_of_name(file.path), None
    if form != PARQUET and (array or form != JSON or not file.size):
        head = head_of(stream) if array else first_bytes(stream)
        form = check_form(file.name, form, head.head)
    if form == PARQUET:
        return _parquet_reader(stream, file, cell_bytes)
    if form and form.codec:
        if not (head and head.rest):
            raise InputError(f"{file.name}: cannot be read: it is empty, not even the header of a compressed file")
        stream.seek(0)
        plain = _Counted(form.codec.open(stream))
        blocks = _blocks_within(plain, file.name, cell_bytes)  # type: ignore[arg-type]
        return Reader(
            1, lambda _: _to_the_end(blocks, stream, file), stream.tell, lambda: plain.count, is_compressed=True
        )
    if head and (not file.size or is_array(head.head)):  # without a size: of a file system that does not tell it
        blocks = read_blocks(stream, file.name, cell_bytes, head)
        return Reader(1, lambda _: _to_the_end(blocks, stream, file), stream.tell, stream.tell)
    return _lines_reader(LineReader(stream, file.name, cell_bytes, head), stream, file, cell_bytes)


def _parquet_reader(stream: BinaryIO, file: InputFile, cell_bytes: int) -> Reader:
    from pipeline.formats.parquet import ParquetReader  # 50 ms

    stream.seek(0)
    has_size = file.size > 0
    whole = stream if has_size else io.BytesIO(stream.read())
    parquet = ParquetReader(whole, file.name, has_size and is_local(file.path))
    if file.size <= cell_bytes:
        return Reader(1, lambda _: parquet.read_all(), lambda: parquet.position, lambda: parquet.rows)
    return Reader(parquet.groups, parquet.read_group, lambda: parquet.position, lambda: parquet.rows)


class _Counted(io.RawIOBase):
    """A stream that knows how many bytes were read from it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        got: int = self._stream.readinto(target)
        self.count += got
        return got


def _to_the_end(blocks: Iterator[AnyBlock], stream: BinaryIO, file: InputFile) -> Iterator[AnyBlock]:
    yield from blocks
    _check_size(file, stream.tell())


def _check_size(file: InputFile, position: int) -> None:
    if position < file.size:
        raise InputError(f"{file.name}: ends at byte {position}, had {file.size} when the run began")


def _blocks_within(plain: BinaryIO, source: str, cell_bytes: int) -> Iterator[AnyBlock]:
    """The blocks of a decompressed stream."""
    head = head_of(plain)
    check_json(source, head.head)
    yield from read_blocks(plain, source, cell_bytes, head)


def _lines_reader(lines: LineReader, stream: BinaryIO, file: InputFile, cell_bytes: int) -> Reader:
    def read_part(part: int) -> Iterator[AnyBlock]:
        yield from lines.read_cell(part)
        if lines.at_end:
            _check_size(file, lines.position)

    # A file may have grown since it was listed: what its last part has read of that counts.
    return Reader(-(-file.size // cell_bytes), read_part, stream.tell, lambda: max(file.size, lines.stop))


class _ReadBlocks(beam.DoFn, RestrictionProvider):  # type: ignore[misc]
    """Restrictions are ranges of a file's parts, so every split falls between records by construction."""

    def __init__(self, cell_bytes: int, keep_broken: bool) -> None:
        self._cell_bytes, self._keep_broken = cell_bytes, keep_broken

    def initial_restriction(self, file: InputFile) -> OffsetRange:
        try:
            parts, is_compressed = self._parts(file)
        except PipelineError:
            if not self._keep_broken:
                raise
            return OffsetRange(0, 1)  # process says what is wrong
        if parts == 1 and file.size > LARGE_BYTES:
            reason = "it is compressed" if is_compressed else "it is one JSON array, or one row group"
            logging.getLogger(__name__).warning("%s is read by one worker: %s", file.name, reason)
        return OffsetRange(0, parts)

    def _parts(self, file: InputFile) -> tuple[int, bool]:
        """How many parts a file has, and whether it is compressed.

        Small ones are not opened for it: there may be thousands, each a round trip.
        """
        is_compressed = _is_compressed(file.path)
        if is_compressed or 0 <= file.size <= self._cell_bytes:
            return 1, is_compressed
        with open_file(file, self._cell_bytes) as reader:
            return reader.parts, reader.is_compressed

    def create_tracker(self, restriction: OffsetRange) -> OffsetRestrictionTracker:
        return OffsetRestrictionTracker(restriction)

    def split(self, file: InputFile, restriction: OffsetRange) -> Iterator[OffsetRange]:
        return restriction.split(_PARTS_A_SPLIT)  # type: ignore[no-any-return]

    def restriction_size(self, file: InputFile, restriction: OffsetRange) -> int:
        return restriction.size() * self._cell_bytes  # type: ignore[no-any-return]

    def process(
        self,
        file: InputFile,
        tracker: OffsetRestrictionTracker = beam.DoFn.RestrictionParam(),
    ) -> Iterator[AnyBlock]:
        parts, split, ledger = _claims(tracker), tracker.current_restriction(), Ledger(file.path)
        offset = split.start * self._cell_bytes
        try:
            with open_file(file, self._cell_bytes, array=split.stop == 1) as reader:
                blocks = _read(reader, parts, offset)
                yield from _balanced(blocks, file, ledger, lambda: _end(reader, tracker, ledger))
        except PipelineError as error:
            if not self._keep_broken:
                raise
            alone = split == OffsetRange(0, 1)
            balance = ledger.give_up() if alone else 0
            yield BrokenBlock(file.name, str(error), file.modified, offset, balance, in_part=not alone)
            for _ in parts:
                pass


def _read(reader: Reader, parts: Iterator[int], seen: int) -> Iterator[AnyBlock]:
    for part in parts:
        for block in reader.read_part(part):
            progress.add(progress.READING, max(0, reader.position() - seen))
            seen = reader.position()
            yield block


def _end(reader: Reader, tracker: OffsetRestrictionTracker, ledger: Ledger) -> int:
    """What the end of a file adds to its balance, by who has read its last part."""
    return ledger.end(reader.size()) if tracker.current_restriction().stop == reader.parts else 0


def _balanced(
    blocks: Iterator[AnyBlock], file: InputFile, ledger: Ledger, end: Callable[[], int]
) -> Iterator[AnyBlock]:
    """The blocks with what they add to the balance of their file; the last one also with what its end adds."""
    held: AnyBlock | None = None
    try:
        for block in blocks:
            if held:
                yield held
            held = dataclasses.replace(block, arrived=file.modified, balance=ledger.add(*block.span))  # type: ignore[type-var]
    except Exception:
        if held:
            yield held
        raise
    rest = end()
    if rest and not held:
        held = Block(b"", Shape.LINES, file.name, arrived=file.modified)
    if held:
        yield dataclasses.replace(held, balance=held.balance + rest)  # type: ignore[type-var]


def _is_compressed(path: str) -> bool:
    """Whether a name says so."""
    form = form_of_name(path)
    return form is not None and form.codec is not None


def _claims(tracker: OffsetRestrictionTracker) -> Iterator[int]:
    part = tracker.current_restriction().start
    while tracker.try_claim(part):
        yield part
        part += 1


@dataclasses.dataclass
class ListFiles(beam.PTransform):  # type: ignore[misc]
    """Files to read: Pipeline -> PCollection[InputFile]. As beam.Create, set up more quickly."""

    files: tuple[InputFile, ...]

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[InputFile]:
        names = beam.ParDo(_List(self.files)).with_output_types(InputFile)
        files = pipeline | "Once" >> beam.Impulse() | "List" >> names
        return files | "Spread" >> beam.Reshuffle() if len(self.files) > 1 else files


class _List(beam.DoFn):  # type: ignore[misc]
    def __init__(self, files: tuple[InputFile, ...]) -> None:
        self._files = files

    def process(self, _: bytes) -> Iterator[InputFile]:
        yield from self._files


class ReadBlocks(beam.PTransform):  # type: ignore[misc]
    """Reads files: PCollection[InputFile] -> PCollection[AnyBlock].

    Plain JSON Lines are split by cells of cell_bytes, Parquet by row groups; compressed files and JSON arrays are
    read by one worker each. Raises InputError where a source as a whole cannot be read; with keep_broken that is a
    BrokenBlock.
    """

    def __init__(self, cell_bytes: int = BLOCK_BYTES, keep_broken: bool = False) -> None:
        super().__init__()
        self._do_fn = _ReadBlocks(cell_bytes, keep_broken)

    def expand(self, files: beam.PCollection[InputFile]) -> beam.PCollection[AnyBlock]:
        return files | "Read blocks" >> beam.ParDo(self._do_fn).with_output_types(AnyBlock)
