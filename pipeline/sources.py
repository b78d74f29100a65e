"""Sources: from file patterns on any Beam file system to blocks, split over workers where the format allows it."""

import bz2
import contextlib
import dataclasses
import glob
import io
import logging
import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker
from apache_beam.transforms.core import RestrictionProvider

from pipeline import coders, progress  # noqa: F401 (registers how blocks travel)
from pipeline.blocks import BLOCK_BYTES, HEAD_BYTES, LineReader, head_of, is_array, read_blocks
from pipeline.decoding import AnyBlock, BrokenBlock
from pipeline.errors import InputError, PipelineError, UsageError, one_line
from pipeline.parquet import ParquetReader
from pipeline.quick import QuickDoFn


def _by_arrow(codec: str) -> Callable[[BinaryIO], Any]:
    return lambda stream: pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), codec)


class _Bzip2(io.RawIOBase):
    """Members of bzip2 in a row. Arrow refuses an empty one, Python's own reader silently drops what is none."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._member = bz2.BZ2Decompressor()

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        data = b""
        while not data:
            if self._member.eof:
                rest = self._member.unused_data or self._stream.read(HEAD_BYTES)
                if not rest:
                    break
                self._member = bz2.BZ2Decompressor()
            else:
                rest = self._stream.read(HEAD_BYTES) if self._member.needs_input else b""
                if not rest and self._member.needs_input:
                    raise EOFError("Truncated compressed stream")
            data = self._member.decompress(rest, len(target))
        target[: len(data)] = data
        return len(data)


# Beam's own reader takes a truncated file for a short one.
_CODECS: dict[str, Callable[[BinaryIO], Any]] = {
    CompressionTypes.GZIP: _by_arrow("gzip"),
    CompressionTypes.BZIP2: lambda stream: io.BufferedReader(_Bzip2(stream)),
    CompressionTypes.ZSTD: _by_arrow("zstd"),
}
SIZE_UNKNOWN = -1
"""As an InputFile's size: whatever it is when the file is opened."""

_PARTS_A_SPLIT = 16  # of 4 MiB each: 64 MiB, the usual size of a Beam bundle


class InputFile(NamedTuple):
    """A file to read. size: bytes, when it was listed, or SIZE_UNKNOWN. name: what messages call it.

    modified: Unix seconds when it was last written; 0 where nobody asks.
    """

    path: str
    size: int
    name: str
    modified: int = 0


def find_files(patterns: list[str]) -> list[InputFile]:
    """The files that patterns (files, globs, folders) match now, each once, sorted by path.

    Hidden files (a leading dot) and folders inside a folder are left out. Raises:
      UsageError: a pattern matches nothing, cannot be listed, or matches a file of an unknown compression.
    """
    files: dict[str, InputFile] = {}
    for pattern in patterns:
        found = match_files(pattern)
        if not found:
            raise UsageError(f"--input {pattern}: no such file, or nothing matches")
        for file in found:
            files.setdefault(os.path.realpath(file.path) if is_local(file.path) else file.path, file)
    for file in files.values():
        _codec(file.path)
    return sorted(files.values())


def _codec(path: str) -> Callable[[BinaryIO], Any] | None:
    kind = CompressionTypes.detect_compression_type(path)
    if kind != CompressionTypes.UNCOMPRESSED and kind not in _CODECS:
        raise UsageError(f"--input {path}: {kind} compression is not supported (use .gz, .bz2 or .zst)")
    return _CODECS.get(kind)


def is_local(path: str) -> bool:
    """Whether a path is on this machine's own file system."""
    return "://" not in path


def match_files(pattern: str, wanted: Callable[[str], bool] = lambda path: True) -> list[InputFile]:
    """The wanted files that a pattern matches now, perhaps none, without hidden ones.

    wanted: by their path, before they are looked at. Raises:
      UsageError: the pattern cannot be listed.
    """
    try:
        if is_local(pattern) and ("**" not in pattern or os.path.exists(pattern)):  # Beam would walk the whole tree below the folder
            return _look_at(filter(wanted, _local_paths(pattern)))
        found = _match(pattern)
        if not found and not pattern.endswith("*"):
            found = _match(pattern.rstrip("/") + "/*")
    except (BeamIOError, OSError, ValueError) as error:
        raise UsageError(f"--input {pattern}: cannot be listed: {one_line(error)}") from None
    return [file for file in found if wanted(file.path)]


def _local_paths(pattern: str) -> list[str]:
    if os.path.isfile(pattern):  # whatever [ or * is in its name
        return [pattern]
    return glob.glob(os.path.join(glob.escape(pattern), "*") if os.path.isdir(pattern) else pattern)


def _look_at(paths: Iterable[str]) -> list[InputFile]:
    """Those that are files, and still there."""
    files = []
    for path in paths:
        with contextlib.suppress(OSError):
            status = os.stat(path)
            if stat.S_ISREG(status.st_mode):
                files.append(InputFile(path, status.st_size, path, int(status.st_mtime)))
    return files


def _match(pattern: str) -> list[InputFile]:
    found = FileSystems.match([pattern])[0].metadata_list
    files = [InputFile(f.path, f.size_in_bytes, f.path, int(f.last_updated_in_seconds or 0)) for f in found]
    return [file for file in files if not posixpath.basename(file.path).startswith(".") and not _is_folder(file.path)]


def _is_folder(path: str) -> bool:
    return path.endswith("/") or (is_local(path) and os.path.isdir(path))


class Reader(NamedTuple):
    """An open file: how many parts it has, what part k holds, and how far (bytes) it was read."""

    parts: int
    read_part: Callable[[int], Iterator[AnyBlock]]
    position: Callable[[], int]


@contextmanager
def open_file(file: InputFile, cell_bytes: int = BLOCK_BYTES) -> Iterator[Reader]:
    """Opens a file by its format: Parquet has a part a row group, plain JSON Lines one a cell of 4 MiB, others one.

    Raises:
      InputError: it cannot be opened, or not read to its end; also while its parts are read.
    """
    try:
        with FileSystems.open(file.path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            yield _reader(stream, _sized(stream, file), cell_bytes)
    except (OSError, EOFError, BeamIOError, pa.ArrowException) as error:
        raise InputError(f"{file.name}: cannot be read: {one_line(error)}") from None


def _sized(stream: BinaryIO, file: InputFile) -> InputFile:
    if file.size != SIZE_UNKNOWN:
        return file
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    return file._replace(size=size)


def _reader(stream: BinaryIO, file: InputFile, cell_bytes: int) -> Reader:
    if file.path.lower().endswith(".parquet"):
        parquet = ParquetReader(stream, file.name)
        return Reader(parquet.groups, parquet.read_group, stream.tell)
    decompress = _codec(file.path)
    if decompress:
        if not file.size:
            raise InputError(f"{file.name}: cannot be read: it is empty, not even the header of a compressed file")
        return Reader(1, lambda _: read_blocks(decompress(stream), file.name, cell_bytes), stream.tell)
    array = is_array(head_of(stream))
    stream.seek(0)
    if array:
        return Reader(1, lambda _: read_blocks(stream, file.name, cell_bytes), stream.tell)
    return _lines_reader(stream, file, cell_bytes)


def _lines_reader(stream: BinaryIO, file: InputFile, cell_bytes: int) -> Reader:
    lines = LineReader(stream, file.name, cell_bytes)

    def read_part(part: int) -> Iterator[AnyBlock]:
        yield from lines.read_cell(part)
        if lines.at_end and lines.position < file.size:
            raise InputError(f"{file.name}: ends at byte {lines.position}, had {file.size} when the run began")

    return Reader(-(-file.size // cell_bytes), read_part, stream.tell)


class _ReadBlocks(QuickDoFn, RestrictionProvider):  # type: ignore[misc]
    """Restrictions are ranges of a file's parts, so every split falls between records by construction."""

    def __init__(self, cell_bytes: int, keep_broken: bool) -> None:
        self._cell_bytes, self._keep_broken = cell_bytes, keep_broken

    def initial_restriction(self, file: InputFile) -> OffsetRange:
        try:
            with open_file(file, self._cell_bytes) as reader:
                parts = reader.parts
        except PipelineError:
            if not self._keep_broken:
                raise
            return OffsetRange(0, 1)  # process says what is wrong
        if parts == 1 and file.size > _PARTS_A_SPLIT * self._cell_bytes:
            logging.getLogger(__name__).info("%s is not split: compressed, or one JSON array", file.name)
        return OffsetRange(0, parts)

    def create_tracker(self, restriction: OffsetRange) -> OffsetRestrictionTracker:
        return OffsetRestrictionTracker(restriction)

    def split(self, file: InputFile, restriction: OffsetRange) -> Iterator[OffsetRange]:
        return restriction.split(_PARTS_A_SPLIT)  # type: ignore[no-any-return]

    def restriction_size(self, file: InputFile, restriction: OffsetRange) -> int:
        return restriction.size() * self._cell_bytes  # type: ignore[no-any-return]

    def process(
        self,
        file: InputFile,
        tracker: OffsetRestrictionTracker = beam.DoFn.RestrictionParam(),  # noqa: B008 (how Beam asks for it)
    ) -> Iterator[AnyBlock]:
        parts = _claims(tracker)
        try:
            yield from self._read(file, tracker.current_restriction().start, parts)
        except PipelineError as error:
            if not self._keep_broken:
                raise
            yield BrokenBlock(file.name, str(error), file.modified)
            for _ in parts:
                pass

    def _read(self, file: InputFile, first: int, parts: Iterator[int]) -> Iterator[AnyBlock]:
        with open_file(file, self._cell_bytes) as reader:
            seen = max(reader.position(), first * self._cell_bytes)
            for part in parts:
                for block in reader.read_part(part):
                    progress.add_bytes(max(0, reader.position() - seen))
                    seen = reader.position()
                    yield dataclasses.replace(block, arrived=file.modified)  # type: ignore[type-var]


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


class _List(QuickDoFn):
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
