"""Reads files as blocks: large ones split over workers, small ones several at once."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MAX_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.engine.coders import typed
from pipeline.engine.run_state import run_state
from pipeline.engine.threads import map_in_threads, read_ahead
from pipeline.errors import PipelineError, UnreadableError
from pipeline.formats.blocks import BLOCK_BYTES
from pipeline.formats.decoding import AnyBlock, Block, BrokenBlock
from pipeline.formats.reader import Reader
from pipeline.formats.readers import is_compressed
from pipeline.model.coverage import CoverageChecksum
from pipeline.storage.files import InputFile, is_local
from pipeline.storage.objects import measured
from pipeline.transforms.opening import Opener, open_file, open_stream

_SPLITS_A_RESTRICTION = 16  # of 4 MiB each: 64 MiB, the usual size of a Beam bundle
_GROUP_FILES, _GROUP_BYTES = 256, 64 * 1024 * 1024
_AHEAD_BYTES = 16 * 1024 * 1024  # that each thread holds

FileGroup = tuple[InputFile, ...]
"""Files of up to BLOCK_BYTES each that are read by one worker, several at once, or a single larger file."""


def group_files(files: Iterable[InputFile], split_bytes: int = BLOCK_BYTES) -> Iterator[FileGroup]:
    """Groups files to be read together: small ones up to _GROUP_FILES and _GROUP_BYTES, large ones alone."""
    group: list[InputFile] = []
    size = 0
    for file in files:
        if not 0 <= file.size <= split_bytes:
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
    """Restrictions are ranges of a file's splits, so each falls between records, or of a group's files."""

    def __init__(self, split_bytes: int, keep_broken: bool, max_decoded_bytes: int | None = None) -> None:
        self._split_bytes, self._keep_broken, self._max_decoded_bytes = split_bytes, keep_broken, max_decoded_bytes

    def initial_restriction(self, element: InputFile | FileGroup) -> OffsetRange:
        files = _group(element)
        return OffsetRange(0, len(files) if len(files) > 1 else self._splits(files[0]))

    def _splits(self, file: InputFile) -> int:
        """How many splits a file has. Small ones are not opened for it."""
        try:
            if 0 <= file.size <= self._split_bytes or is_compressed(file.path):
                return 1
            with open_file(file, self._split_bytes) as reader:
                return reader.splits
        except PipelineError:
            if not self._keep_broken:
                raise
            return 1  # process finds the same error

    def create_tracker(self, restriction: OffsetRange) -> OffsetRestrictionTracker:
        return OffsetRestrictionTracker(restriction)

    def split(self, element: InputFile | FileGroup, restriction: OffsetRange) -> Iterator[OffsetRange]:
        return iter([restriction]) if len(_group(element)) > 1 else restriction.split(_SPLITS_A_RESTRICTION)

    def restriction_size(self, element: InputFile | FileGroup, restriction: OffsetRange) -> int:
        files = _group(element)
        if len(files) > 1:
            return sum(file.size for file in files[restriction.start : restriction.stop])
        return restriction.size() * self._split_bytes  # type: ignore[no-any-return]

    def process(
        self,
        element: InputFile | FileGroup,
        tracker: OffsetRestrictionTracker = beam.DoFn.RestrictionParam(),
    ) -> Iterator[AnyBlock]:
        files, restriction = _group(element), tracker.current_restriction()
        if len(files) == 1:
            yield from self._read_file(files[0], tracker)
            return
        chosen = files[restriction.start : restriction.stop]
        openers = read_ahead(open_stream, chosen, lambda file: max(file.size, 0), lambda file: is_local(file.path))
        for number, (file, opener) in enumerate(openers, restriction.start):
            if not tracker.try_claim(number):
                return
            yield from self._read_file(file, self.create_tracker(self.initial_restriction(file)), opener)

    def _read_file(
        self, file: InputFile, tracker: OffsetRestrictionTracker, opener: Opener | None = None
    ) -> Iterator[AnyBlock]:
        splits, restriction = _claims(tracker), tracker.current_restriction()
        checksum, offset = CoverageChecksum(file.path), restriction.start * self._split_bytes
        try:
            with open_file(file, self._split_bytes, restriction.stop == 1, self._max_decoded_bytes, opener) as reader:
                blocks = _read(reader, splits, offset)
                hold = file.size <= self._split_bytes
                yield from _balanced(blocks, file, checksum, hold, lambda: _end(reader, tracker, checksum))
        except PipelineError as error:
            if not self._keep_broken:
                raise
            alone = restriction == OffsetRange(0, 1)
            balance = checksum.end() if alone else 0
            unreadable = isinstance(error, UnreadableError)
            yield BrokenBlock(file.name, str(error), file.modified, offset, balance, not alone, unreadable)
            for _ in splits:
                pass


def _group(element: InputFile | FileGroup) -> FileGroup:
    return (element,) if isinstance(element, InputFile) else element


class _ReadWhole(beam.DoFn):  # type: ignore[misc]
    """Reads all splits of a file in one call, with one reader."""

    def __init__(self, splits: _ReadBlocks) -> None:
        self._splits = splits

    def process(self, element: InputFile | FileGroup) -> Iterator[AnyBlock]:
        files = tuple(map(measured, _group(element)))
        yield from self._splits.process(files, self._splits.create_tracker(self._splits.initial_restriction(files)))


def _read(reader: Reader, splits: Iterator[int], seen: int) -> Iterator[AnyBlock]:
    begun = partial(_begin_split, reader)
    for blocks in map_in_threads(begun, splits) if reader.splits_are_independent else map(reader.read_split, splits):
        for block in blocks:
            run_state.add_bytes_read(max(0, reader.position() - seen))
            seen = reader.position()
            yield block


def _begin_split(reader: Reader, split: int) -> Iterator[AnyBlock]:
    """Reads the first blocks of a split, up to _AHEAD_BYTES; the others when they are asked for."""
    blocks, first, size = reader.read_split(split), [], 0
    for block in blocks:
        first.append(block)
        size += block.nbytes
        if size > _AHEAD_BYTES:
            break
    return itertools.chain(first, blocks)


def _end(reader: Reader, tracker: OffsetRestrictionTracker, checksum: CoverageChecksum) -> int:
    """What the end of a file adds to its checksum: only the reader of its last split adds it."""
    return checksum.end(reader.size()) if tracker.current_restriction().stop == reader.splits else 0


def _balanced(
    blocks: Iterator[AnyBlock], file: InputFile, checksum: CoverageChecksum, hold: bool, end: Callable[[], int]
) -> Iterator[AnyBlock]:
    """Adds to blocks their shares of the checksum of their file, to the last one also that of the file's end.

    hold: each block waits until it is known whether it is the last. Without, an empty block follows, since a block that
    waits has left the processor's cache.
    """
    held: AnyBlock | None = None
    try:
        for block in blocks:
            if held:
                yield held
            balance = checksum.add(*block.span)
            held = dataclasses.replace(block, arrived=file.modified, balance=balance)  # type: ignore[type-var]
            if not hold:
                yield held
                held = None
    except Exception:
        if held:
            yield held
        raise
    rest = end()
    if rest and not held:
        held = Block(b"", source=file.name, arrived=file.modified)
    if held:
        yield dataclasses.replace(held, balance=held.balance + rest)  # type: ignore[type-var]


def _claims(tracker: OffsetRestrictionTracker) -> Iterator[int]:
    split = tracker.current_restriction().start
    while tracker.try_claim(split):
        yield split
        split += 1


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

    Plain JSON Lines and Parquet are split over workers; compressed files and JSON arrays are read by one worker each.
    The files of a group are read several at once, where they are in a bucket. Raises InputError where a source as a
    whole cannot be read.
    """

    def __init__(
        self,
        split_bytes: int = BLOCK_BYTES,
        keep_broken: bool = False,
        spread: bool = True,
        max_decoded_bytes: int | None = None,
    ) -> None:
        """Sets how files are read.

        Args:
          split_bytes: size of the splits of a file that workers share.
          keep_broken: emit what cannot be read of a source as a BrokenBlock.
          spread: over workers. Where there is only one, to ask for the splits is no stage of its own.
          max_decoded_bytes: as Job has it.
        """
        super().__init__()
        splits = _ReadBlocks(split_bytes, keep_broken, max_decoded_bytes)
        self._do_fn = splits if spread else _ReadWhole(splits)

    def expand(self, files: beam.PCollection[InputFile | FileGroup]) -> beam.PCollection[AnyBlock]:
        return typed(files | "Read blocks" >> beam.ParDo(self._do_fn), AnyBlock)  # type: ignore[no-any-return]
