"""Sources: from file patterns on any Beam file system to blocks, split over workers where the format allows it."""

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker
from apache_beam.transforms.core import RestrictionProvider

from pipeline.engine import progress
from pipeline.engine.coders import typed
from pipeline.errors import InputError, PipelineError
from pipeline.formats.blocks import BLOCK_BYTES
from pipeline.formats.content import form_of_name
from pipeline.formats.decoding import AnyBlock, Block, BrokenBlock, Shape
from pipeline.formats.reader import Reader, Source
from pipeline.formats.readers import open_plain, open_reader
from pipeline.model.balance import Ledger
from pipeline.storage.files import SIZE_UNKNOWN, InputFile, explain, has_changed, is_io_error, measured

_PARTS_A_SPLIT = 16  # of 4 MiB each: 64 MiB, the usual size of a Beam bundle
LARGE_BYTES = 256 * 1024 * 1024
"""What is worth a warning if one worker reads it alone: about a second for JSON, several for what is compressed."""


@contextmanager
def open_file(
    file: InputFile, cell_bytes: int = BLOCK_BYTES, array: bool = True, max_decoded_bytes: int | None = None
) -> Iterator[Reader]:
    """Opens a file by its format: JSON Lines and Parquet have one part per 4 MiB, others just one.

    The format is as the name says, else as the first bytes say. A file of one cell or less has one part.

    Args:
      file: the file.
      cell_bytes: size of a part.
      array: whether it may be a JSON array; where it is known not to be one, its first bytes need not be fetched.
      max_decoded_bytes: as Job has it.

    Raises:
      InputError: it cannot be opened, or not read to its end; also while its parts are read.
    """
    with _opened(file) as source:
        yield open_reader(source, file.path, cell_bytes, array, max_decoded_bytes)


@contextmanager
def open_lines(file: InputFile) -> Iterator[BinaryIO]:
    """A file's decompressed bytes, from the first on. Raises InputError as open_file does."""
    with _opened(file) as source:
        yield open_plain(source, file.path)


@contextmanager
def _opened(file: InputFile) -> Iterator[Source]:
    try:
        with FileSystems.open(file.path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            size = _size(stream) if file.size == SIZE_UNKNOWN else file.size
            yield Source(stream, file.name, size)
            if has_changed(file, stream):
                raise InputError(f"{file.name}: was replaced, or written to, since the run began")
    except Exception as error:
        if not is_io_error(error):
            raise
        raise InputError(f"{file.name}: cannot be read: {explain(error)}") from None


def _size(stream: BinaryIO) -> int:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    return size


class _ReadBlocks(beam.DoFn, RestrictionProvider):  # type: ignore[misc]
    """Restrictions are ranges of a file's parts, so every split falls between records by construction."""

    def __init__(self, cell_bytes: int, keep_broken: bool, max_decoded_bytes: int | None = None) -> None:
        self._cell_bytes, self._keep_broken, self._max_decoded_bytes = cell_bytes, keep_broken, max_decoded_bytes

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
            with open_file(file, self._cell_bytes, split.stop == 1, self._max_decoded_bytes) as reader:
                blocks = _read(reader, parts, offset)
                hold = file.size <= self._cell_bytes
                yield from _balanced(blocks, file, ledger, hold, lambda: _end(reader, tracker, ledger))
        except PipelineError as error:
            if not self._keep_broken:
                raise
            alone = split == OffsetRange(0, 1)
            balance = ledger.give_up() if alone else 0
            yield BrokenBlock(file.name, str(error), file.modified, offset, balance, in_part=not alone)
            for _ in parts:
                pass


class _ReadWhole(beam.DoFn):  # type: ignore[misc]
    """Reads all parts of a file where it came in, with one reader."""

    def __init__(self, parts: _ReadBlocks) -> None:
        self._parts = parts

    def process(self, file: InputFile) -> Iterator[AnyBlock]:
        file = measured(file)
        yield from self._parts.process(file, self._parts.create_tracker(self._parts.initial_restriction(file)))


def _read(reader: Reader, parts: Iterator[int], seen: int) -> Iterator[AnyBlock]:
    for part in parts:
        for block in reader.read_part(part):
            progress.add(progress.READING, max(0, reader.position() - seen))
            seen = reader.position()
            yield block


def _end(reader: Reader, tracker: OffsetRestrictionTracker, ledger: Ledger) -> int:
    """What the end of a file adds to its balance: only the reader of its last part adds it."""
    return ledger.end(reader.size()) if tracker.current_restriction().stop == reader.parts else 0


def _balanced(
    blocks: Iterator[AnyBlock], file: InputFile, ledger: Ledger, hold: bool, end: Callable[[], int]
) -> Iterator[AnyBlock]:
    """The blocks with what they add to the balance of their file; the last one also with what its end adds.

    hold: each block waits until it is known whether it is the last. Without, an empty block follows, since a block that
    waits has left the processor's cache.
    """
    held: AnyBlock | None = None
    try:
        for block in blocks:
            if held:
                yield held
            held = dataclasses.replace(block, arrived=file.modified, balance=ledger.add(*block.span))  # type: ignore[type-var]
            if not hold:
                yield held
                held = None
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
    """Files to read: Pipeline -> PCollection[InputFile]. As beam.Create, but faster to set up."""

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

    Plain JSON Lines are split by cells of cell_bytes, Parquet by runs of row groups of that size; compressed files and
    JSON arrays are read by one worker each. Raises InputError where a source as a whole cannot be read; with
    keep_broken that is a BrokenBlock.
    """

    def __init__(
        self,
        cell_bytes: int = BLOCK_BYTES,
        keep_broken: bool = False,
        spread: bool = True,
        max_decoded_bytes: int | None = None,
    ) -> None:
        """Sets how files are read.

        Args:
          cell_bytes: size of the parts of a file that workers share.
          keep_broken: emit what cannot be read of a source as a BrokenBlock.
          spread: over workers. Where there is only one, to ask for the parts is no stage of its own.
          max_decoded_bytes: as Job has it.
        """
        super().__init__()
        parts = _ReadBlocks(cell_bytes, keep_broken, max_decoded_bytes)
        self._do_fn = parts if spread else _ReadWhole(parts)

    def expand(self, files: beam.PCollection[InputFile]) -> beam.PCollection[AnyBlock]:
        return typed(files | "Read blocks" >> beam.ParDo(self._do_fn), AnyBlock)  # type: ignore[no-any-return]
