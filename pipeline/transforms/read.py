"""Reads files as blocks: splits large ones over workers, and reads several small ones at once."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.utils.timestamp import MAX_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.engine.coders import typed
from pipeline.engine.run_state import run_state
from pipeline.engine.spill import in_global_window
from pipeline.engine.threads import map_in_threads, read_ahead
from pipeline.errors import PipelineError, TransientReadError
from pipeline.formats.blocks import BLOCK_BYTES
from pipeline.formats.decoding import AnyBlock, Block, BrokenBlock
from pipeline.formats.readers import Reader
from pipeline.model.tally import CoverageChecksum
from pipeline.storage.compression import codec_of_name
from pipeline.storage.files import InputFile, is_local
from pipeline.storage.objects import measured
from pipeline.transforms.opening import Opener, open_file, open_stream

_SPLITS_A_RESTRICTION = 16  # of 4 MiB each: 64 MiB, the usual size of a Beam bundle
_GROUP_FILES, _GROUP_BYTES = 256, 64 * 1024 * 1024
_PREFETCH_BYTES = 16 * 1024 * 1024  # read ahead by each thread


@dataclasses.dataclass(frozen=True)
class FileGroup:
    """Files of up to BLOCK_BYTES each, which one worker reads several at a time, or a single larger file.

    Beam pickles it as a whole; of a plain tuple it pickles each file alone, in three times the time.
    """

    files: tuple[InputFile, ...]


def group_files(files: Iterable[InputFile], split_bytes: int = BLOCK_BYTES) -> Iterator[FileGroup]:
    """Groups files to be read together: small ones up to _GROUP_FILES and _GROUP_BYTES, large ones alone."""
    group: list[InputFile] = []
    size = 0
    for file in files:
        if not 0 <= file.size <= split_bytes:
            yield FileGroup((file,))
            continue
        group.append(file)
        size += file.size
        if len(group) >= _GROUP_FILES or size >= _GROUP_BYTES:
            yield FileGroup(tuple(group))
            group, size = [], 0
    if group:
        yield FileGroup(tuple(group))


class _ReadBlocks(beam.DoFn, RestrictionProvider):  # type: ignore[misc]
    """A splittable DoFn, whose restrictions are ranges of a file's splits, or of a group's files."""

    def __init__(self, split_bytes: int, keep_broken: bool, max_decoded_bytes: int | None = None) -> None:
        self._split_bytes, self._keep_broken, self._max_decoded_bytes = split_bytes, keep_broken, max_decoded_bytes

    def initial_restriction(self, element: InputFile | FileGroup) -> OffsetRange:
        files = _files(element)
        return OffsetRange(0, len(files) if len(files) > 1 else self._splits(files[0]))

    def _splits(self, file: InputFile) -> int:
        """Returns the number of splits of a file. Small ones are not opened."""
        try:
            if 0 <= file.size <= self._split_bytes or codec_of_name(file.path):
                return 1
            with open_file(file, self._split_bytes) as reader:
                return reader.splits
        except PipelineError:
            if not self._keep_broken:
                raise
            return 1  # process raises the same error

    def create_tracker(self, restriction: OffsetRange) -> OffsetRestrictionTracker:
        return OffsetRestrictionTracker(restriction)

    def split(self, element: InputFile | FileGroup, restriction: OffsetRange) -> Iterator[OffsetRange]:
        return iter([restriction]) if len(_files(element)) > 1 else restriction.split(_SPLITS_A_RESTRICTION)

    def restriction_size(self, element: InputFile | FileGroup, restriction: OffsetRange) -> int:
        files = _files(element)
        if len(files) > 1:
            return sum(file.size for file in files[restriction.start : restriction.stop])
        return restriction.size() * self._split_bytes  # type: ignore[no-any-return]

    def process(
        self,
        element: InputFile | FileGroup,
        tracker: OffsetRestrictionTracker = beam.DoFn.RestrictionParam(),
    ) -> Iterator[AnyBlock]:
        files, restriction = _files(element), tracker.current_restriction()
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
        splits, restriction = _claim_splits(tracker), tracker.current_restriction()
        checksum, offset = CoverageChecksum(file.path), restriction.start * self._split_bytes
        try:
            with open_file(file, self._split_bytes, restriction.stop == 1, self._max_decoded_bytes, opener) as reader:
                blocks = _read(reader, splits, offset)
                delay = file.size <= self._split_bytes
                yield from _with_coverage(blocks, file, checksum, delay, lambda: _end_delta(reader, tracker, checksum))
        except PipelineError as error:
            if not self._keep_broken:
                raise
            is_partial = restriction != OffsetRange(0, 1)
            delta = 0 if is_partial else checksum.end_delta()
            is_retryable = isinstance(error, TransientReadError)
            yield BrokenBlock(file.name, str(error), file.modified, offset, delta, is_partial, is_retryable)
            for _ in splits:
                pass


def _files(element: InputFile | FileGroup) -> tuple[InputFile, ...]:
    return (element,) if isinstance(element, InputFile) else element.files


class _ReadWhole(beam.DoFn):  # type: ignore[misc]
    """A plain DoFn that reads all splits of a file with one reader."""

    def __init__(self, reader: _ReadBlocks) -> None:
        self._reader = reader

    def process(self, element: InputFile | FileGroup) -> Iterator[AnyBlock]:
        group = FileGroup(tuple(map(measured, _files(element))))
        yield from self._reader.process(group, self._reader.create_tracker(self._reader.initial_restriction(group)))


def _read(reader: Reader, splits: Iterator[int], start_offset: int) -> Iterator[AnyBlock]:
    offset = start_offset
    begin = partial(_begin_split, reader)
    for blocks in map_in_threads(begin, splits) if reader.splits_are_independent else map(reader.read_split, splits):
        for block in blocks:
            run_state.add_bytes_read(max(0, reader.bytes_read() - offset))
            offset = reader.bytes_read()
            yield block


def _begin_split(reader: Reader, split: int) -> Iterator[AnyBlock]:
    """Reads the first blocks of a split, up to _PREFETCH_BYTES; the others lazily."""
    blocks, first, size = reader.read_split(split), [], 0
    for block in blocks:
        first.append(block)
        size += block.nbytes
        if size > _PREFETCH_BYTES:
            break
    return itertools.chain(first, blocks)


def _end_delta(reader: Reader, tracker: OffsetRestrictionTracker, checksum: CoverageChecksum) -> int:
    """Returns the checksum's contribution of the file's end; 0 for readers of other splits than the last."""
    return checksum.end_delta(reader.size()) if tracker.current_restriction().stop == reader.splits else 0


def _with_coverage(
    blocks: Iterator[AnyBlock], file: InputFile, checksum: CoverageChecksum, delay: bool, end_delta: Callable[[], int]
) -> Iterator[AnyBlock]:
    """Sets the coverage_delta of blocks, and adds that of the file's end to the last one.

    delay: emit a block when the next one is read. Otherwise an empty block carries the end's contribution, since large
    blocks that wait leave the CPU cache.
    """
    pending, delta = None, 0
    try:
        for block in blocks:
            if pending:
                yield _covered(pending, file, delta)
            pending, delta = block, checksum.block_delta(*block.span)
            if not delay:
                yield _covered(pending, file, delta)
                pending, delta = None, 0
    except Exception:
        if pending:
            yield _covered(pending, file, delta)
        raise
    delta += end_delta()
    if pending or delta:
        yield _covered(pending or Block(b"", source=file.name), file, delta)


def _covered(block: AnyBlock, file: InputFile, delta: int) -> AnyBlock:
    return dataclasses.replace(block, arrived=file.modified, coverage_delta=delta)  # type: ignore[type-var]


def _claim_splits(tracker: OffsetRestrictionTracker) -> Iterator[int]:
    split = tracker.current_restriction().start
    while tracker.try_claim(split):
        yield split
        split += 1


@dataclasses.dataclass
class ListFiles(beam.PTransform):  # type: ignore[misc]
    """Creates groups of files to read: Pipeline -> PCollection[FileGroup]. Faster to set up than beam.Create."""

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
            yield in_global_window(group, self._timestamp)


class GroupFiles(beam.PTransform):  # type: ignore[misc]
    """Groups the small files of a bundle for ReadBlocks: PCollection[InputFile] -> PCollection[FileGroup].

    Global window only. A group has the earliest timestamp of its bundle.
    """

    def expand(self, files: beam.PCollection[InputFile]) -> beam.PCollection[FileGroup]:
        return files | "Group" >> beam.ParDo(_Group()).with_output_types(Any)


@dataclasses.dataclass
class ReadBlocks(beam.PTransform):  # type: ignore[misc]
    """Reads files: PCollection[InputFile or FileGroup] -> PCollection[AnyBlock].

    Splits plain JSON Lines and Parquet over workers; one worker reads a compressed file or a JSON array. Fetches
    several objects of a group at a time. Raises InputError if a source as a whole cannot be read.

    Attributes:
      split_bytes: size of a split.
      keep_broken: emit a BrokenBlock for what cannot be read of a source.
      splittable: False: read with a plain DoFn, which saves the split stages on a single worker.
      max_decoded_bytes: Parquet only: maximum size after decompression and decoding; None: unlimited.
    """

    split_bytes: int = BLOCK_BYTES
    keep_broken: bool = False
    splittable: bool = True
    max_decoded_bytes: int | None = None

    def expand(self, files: beam.PCollection[InputFile | FileGroup]) -> beam.PCollection[AnyBlock]:
        reader = _ReadBlocks(self.split_bytes, self.keep_broken, self.max_decoded_bytes)
        step = beam.ParDo(reader if self.splittable else _ReadWhole(reader))
        return typed(files | "Read blocks" >> step, AnyBlock)  # type: ignore[no-any-return]
