"""Sources: from files to blocks, split over workers where the format allows it, small ones read several at once."""

import dataclasses
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO

import apache_beam as beam
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MAX_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.engine.coders import typed
from pipeline.engine.run_state import run_state
from pipeline.engine.threads import in_threads, read_ahead
from pipeline.errors import InputError, PipelineError, UnreadableError
from pipeline.formats.blocks import BLOCK_BYTES
from pipeline.formats.content import form_of_name
from pipeline.formats.decoding import AnyBlock, Block, BrokenBlock, Shape
from pipeline.formats.reader import Reader, Source
from pipeline.formats.readers import open_plain, open_reader
from pipeline.model.coverage import CoverageChecksum
from pipeline.storage.files import InputFile, explain, has_changed, is_io_error, is_local, is_transient
from pipeline.storage.objects import ChangedError, measured, open_object

_PARTS_A_SPLIT = 16  # of 4 MiB each: 64 MiB, the usual size of a Beam bundle
_GROUP_FILES, _GROUP_BYTES = 256, 64 * 1024 * 1024
_AHEAD_BYTES = 16 * 1024 * 1024  # that each thread holds
LARGE_BYTES = 256 * 1024 * 1024
"""What is worth a warning if one worker reads it alone: about a second for JSON, several for what is compressed."""


FileGroup = tuple[InputFile, ...]
"""Files of up to BLOCK_BYTES each that are read by one worker, several at once, or a single larger file."""

Opener = Callable[[], BinaryIO]


@contextmanager
def open_file(
    file: InputFile,
    cell_bytes: int = BLOCK_BYTES,
    array: bool = True,
    max_decoded_bytes: int | None = None,
    opener: Opener | None = None,
) -> Iterator[Reader]:
    """Opens a file by its format: JSON Lines and Parquet have one part per 4 MiB, others just one.

    The format is as the name says, else as the first bytes say. A file of one cell or less has one part.

    Args:
      file: as it was listed.
      cell_bytes: size of a part.
      array: whether it may be a JSON array; where it is known not to be one, its first bytes need not be fetched.
      max_decoded_bytes: as Job has it.
      opener: returns or raises what _open does.

    Raises:
      InputError: it cannot be opened, or not read to its end; also while its parts are read.
    """
    with _opened(file, opener or partial(_open, file, load=array)) as (source, name):
        yield open_reader(source, name, cell_bytes, array, max_decoded_bytes)


@contextmanager
def open_lines(file: InputFile) -> Iterator[BinaryIO]:
    """A file's decompressed bytes, from the first on. Raises InputError as open_file does."""
    with _opened(file, partial(_open, file)) as (source, name):
        yield open_plain(source, name)


@contextmanager
def _opened(file: InputFile, opener: Opener) -> Iterator[tuple[Source, str]]:
    """The open file, and the name that tells its format."""
    stream: Any = None
    try:
        with opener() as stream:
            size = measured(file).size
            yield Source(stream, file.name, size), file.path + _encoding_suffix(file, stream)
            if is_local(file.path) and has_changed(file, stream):
                raise UnreadableError(f"{file.name}: was replaced, or written to, since the run began")
    except Exception as error:
        cause = error if stream is None or is_local(file.path) else stream.raw.error or error
        if not is_io_error(cause):
            raise
        reason = str(cause) if isinstance(cause, ChangedError) else f"cannot be read: {explain(cause)}"
        kind = UnreadableError if is_transient(cause) else InputError
        raise kind(f"{file.name}: {reason}") from None


def _open(file: InputFile, load: bool = True) -> BinaryIO:
    return open(file.path, "rb") if is_local(file.path) else open_object(measured(file), load)


def _encoding_suffix(file: InputFile, stream: Any) -> str:
    """The suffix that the name of an object lacks, where the service knows that it is compressed."""
    encoding = "" if is_local(file.path) else stream.raw.encoding
    return {"gzip": ".gz", "zstd": ".zst"}.get(encoding, "") if encoding and not _is_compressed(file.path) else ""


def group_files(files: Iterable[InputFile], cell_bytes: int = BLOCK_BYTES) -> Iterator[FileGroup]:
    """Files to be read together: small ones up to _GROUP_FILES and _GROUP_BYTES, large ones alone."""
    group: list[InputFile] = []
    size = 0
    for file in files:
        if not 0 <= file.size <= cell_bytes:
            yield (file,)
            continue
        group.append(file)
        size += file.size
        if len(group) >= _GROUP_FILES or size >= _GROUP_BYTES:
            yield tuple(group)
            group, size = [], 0
    if group:
        yield tuple(group)


class _ReadBlocks(beam.DoFn, RestrictionProvider):  # type: ignore[misc]
    """Restrictions are ranges of a file's parts, so every split falls between records, or of a group's files."""

    def __init__(self, cell_bytes: int, keep_broken: bool, max_decoded_bytes: int | None = None) -> None:
        self._cell_bytes, self._keep_broken, self._max_decoded_bytes = cell_bytes, keep_broken, max_decoded_bytes

    def initial_restriction(self, element: InputFile | FileGroup) -> OffsetRange:
        files = _group(element)
        if len(files) > 1:
            return OffsetRange(0, len(files))
        try:
            parts, is_compressed = self._parts(files[0])
        except PipelineError:
            if not self._keep_broken:
                raise
            return OffsetRange(0, 1)  # process says what is wrong
        if parts == 1 and files[0].size > LARGE_BYTES:
            reason = "it is compressed" if is_compressed else "it is one JSON array, or one row group"
            logging.getLogger(__name__).warning("%s is read by one worker: %s", files[0].name, reason)
        return OffsetRange(0, parts)

    def _parts(self, file: InputFile) -> tuple[int, bool]:
        """How many parts a file has, and whether it is compressed. Small ones are not opened for it."""
        is_compressed = _is_compressed(file.path)
        if is_compressed or 0 <= file.size <= self._cell_bytes:
            return 1, is_compressed
        with open_file(file, self._cell_bytes) as reader:
            return reader.parts, reader.is_compressed

    def create_tracker(self, restriction: OffsetRange) -> OffsetRestrictionTracker:
        return OffsetRestrictionTracker(restriction)

    def split(self, element: InputFile | FileGroup, restriction: OffsetRange) -> Iterator[OffsetRange]:
        return iter([restriction]) if len(_group(element)) > 1 else restriction.split(_PARTS_A_SPLIT)

    def restriction_size(self, element: InputFile | FileGroup, restriction: OffsetRange) -> int:
        files = _group(element)
        if len(files) > 1:
            return sum(file.size for file in files[restriction.start : restriction.stop])
        return restriction.size() * self._cell_bytes  # type: ignore[no-any-return]

    def process(
        self,
        element: InputFile | FileGroup,
        tracker: OffsetRestrictionTracker = beam.DoFn.RestrictionParam(),
    ) -> Iterator[AnyBlock]:
        files, split = _group(element), tracker.current_restriction()
        if len(files) == 1:
            yield from self._read_file(files[0], tracker)
            return
        openers = read_ahead(_open, files[split.start : split.stop], _size, _is_near)
        for number, (file, opener) in enumerate(openers, split.start):
            if not tracker.try_claim(number):
                return
            yield from self._read_file(file, self.create_tracker(self.initial_restriction(file)), opener)

    def _read_file(
        self, file: InputFile, tracker: OffsetRestrictionTracker, opener: Opener | None = None
    ) -> Iterator[AnyBlock]:
        parts, split, ledger = _claims(tracker), tracker.current_restriction(), CoverageChecksum(file.path)
        offset = split.start * self._cell_bytes
        try:
            with open_file(file, self._cell_bytes, split.stop == 1, self._max_decoded_bytes, opener) as reader:
                blocks = _read(reader, parts, offset)
                hold = file.size <= self._cell_bytes
                yield from _balanced(blocks, file, ledger, hold, lambda: _end(reader, tracker, ledger))
        except PipelineError as error:
            if not self._keep_broken:
                raise
            alone = split == OffsetRange(0, 1)
            balance = ledger.give_up() if alone else 0
            unreadable = isinstance(error, UnreadableError)
            yield BrokenBlock(file.name, str(error), file.modified, offset, balance, not alone, unreadable)
            for _ in parts:
                pass


def _group(element: InputFile | FileGroup) -> FileGroup:
    return (element,) if isinstance(element, InputFile) else element


def _size(file: InputFile) -> int:
    return max(file.size, 0)


def _is_near(file: InputFile) -> bool:
    return is_local(file.path)


class _ReadWhole(beam.DoFn):  # type: ignore[misc]
    """Reads all parts of a file where it came in, with one reader."""

    def __init__(self, parts: _ReadBlocks) -> None:
        self._parts = parts

    def process(self, element: InputFile | FileGroup) -> Iterator[AnyBlock]:
        files = tuple(map(measured, _group(element)))
        yield from self._parts.process(files, self._parts.create_tracker(self._parts.initial_restriction(files)))


def _read(reader: Reader, parts: Iterator[int], seen: int) -> Iterator[AnyBlock]:
    begun = partial(_begin_part, reader)
    for blocks in in_threads(begun, parts) if reader.parts_are_independent else map(reader.read_part, parts):
        for block in blocks:
            run_state.add_bytes_read(max(0, reader.position() - seen))
            seen = reader.position()
            yield block


def _begin_part(reader: Reader, part: int) -> Iterator[AnyBlock]:
    """Reads the first blocks of a part, up to _AHEAD_BYTES; the others when they are asked for."""
    blocks, first, size = reader.read_part(part), [], 0
    for block in blocks:
        first.append(block)
        size += block.nbytes
        if size > _AHEAD_BYTES:
            break
    return itertools.chain(first, blocks)


def _end(reader: Reader, tracker: OffsetRestrictionTracker, ledger: CoverageChecksum) -> int:
    """What the end of a file adds to its balance: only the reader of its last part adds it."""
    return ledger.end(reader.size()) if tracker.current_restriction().stop == reader.parts else 0


def _balanced(
    blocks: Iterator[AnyBlock], file: InputFile, ledger: CoverageChecksum, hold: bool, end: Callable[[], int]
) -> Iterator[AnyBlock]:
    """The blocks with what they add to the balance of their file; the last one also with what its end adds.

    hold: each block waits until it is known whether it is the last. Without, an empty block follows, since a block that
    waits has left the processor's cache.
    """
    held: tuple[AnyBlock, int] | None = None

    def balanced(block: AnyBlock, balance: int) -> AnyBlock:
        return dataclasses.replace(block, arrived=file.modified, balance=balance)  # type: ignore[type-var]

    try:
        for block in blocks:
            if held:
                yield balanced(*held)
            held = block, ledger.add(*block.span)
            if not hold:
                yield balanced(*held)
                held = None
    except Exception:
        if held:
            yield balanced(*held)
        raise
    rest = end()
    if rest and not held:
        held = Block(b"", Shape.LINES, file.name), 0
    if held:
        yield balanced(held[0], held[1] + rest)


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
    """Files to read: Pipeline -> PCollection[FileGroup]. As beam.Create, but faster to set up."""

    files: tuple[InputFile, ...]

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[FileGroup]:
        groups = tuple(group_files(self.files))
        listed = pipeline | "Once" >> beam.Impulse() | "List" >> beam.ParDo(_List(groups)).with_output_types(Any)
        return listed | "Spread" >> beam.Reshuffle() if len(groups) > 1 else listed


class _List(beam.DoFn):  # type: ignore[misc]
    def __init__(self, groups: tuple[FileGroup, ...]) -> None:
        self._groups = groups

    def process(self, _: bytes) -> Iterator[FileGroup]:
        yield from self._groups


class _Group(beam.DoFn):  # type: ignore[misc]
    def start_bundle(self) -> None:
        self._files: list[InputFile] = []
        self._timestamp = MAX_TIMESTAMP

    def process(self, file: InputFile, timestamp: Any = beam.DoFn.TimestampParam) -> None:
        self._files.append(file)
        self._timestamp = min(self._timestamp, timestamp)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for group in group_files(self._files):
            yield WindowedValue(group, self._timestamp, (GlobalWindow(),))


class GroupFiles(beam.PTransform):  # type: ignore[misc]
    """Puts small files of a bundle together: PCollection[InputFile] -> PCollection[FileGroup], for ReadBlocks.

    Global window; a group has the earliest timestamp of its bundle.
    """

    def expand(self, files: beam.PCollection[InputFile]) -> beam.PCollection[FileGroup]:
        return files | "Group" >> beam.ParDo(_Group()).with_output_types(Any)


class ReadBlocks(beam.PTransform):  # type: ignore[misc]
    """Reads files: PCollection[InputFile or FileGroup] -> PCollection[AnyBlock].

    Plain JSON Lines are split by cells, Parquet by runs of row groups; compressed files and JSON arrays are read by one
    worker each. The files of a group are read several at once, where they are in a bucket.

    Args:
      cell_bytes: size of a part.
      keep_broken: a source that cannot be read as a whole is a BrokenBlock.
      spread: over workers; where there is only one, to ask for the parts is no stage of its own.
      max_decoded_bytes: as Job has it.

    Raises:
      InputError: a source as a whole cannot be read.
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

    def expand(self, files: beam.PCollection[InputFile | FileGroup]) -> beam.PCollection[AnyBlock]:
        return typed(files | "Read blocks" >> beam.ParDo(self._do_fn), AnyBlock)  # type: ignore[no-any-return]
