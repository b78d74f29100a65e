"""The sinks of a stream: a file an hour, rewritten by each newer version, and a folder of rejects."""

import dataclasses
import hashlib
import logging
import os
import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Union

import apache_beam as beam
from apache_beam.coders import BooleanCoder, FastPrimitivesCoder
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.transforms.trigger import AccumulationMode, AfterProcessingTime, AfterWatermark
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.engine.coders import typed
from pipeline.engine.local_run import local_run
from pipeline.engine.prism import SinkDoFn
from pipeline.engine.spill import in_global_window
from pipeline.model.events import Reject
from pipeline.storage.atomic import atomic_file
from pipeline.storage.files import is_local, shown
from pipeline.storage.objects import delete_file
from pipeline.transforms.format import reject_lines

_LARGE_BYTES, _LARGE = 256 * 1024, "large"
_MINUTE_BYTES = 64 * 1024 * 1024

Version = tuple[str, Union[tuple[int, bytes], int]]
"""A file's name; and of how many events it is, and its bytes. Or how many versions it has in all: it is closed then."""

_FINAL = ".final"


def hour_name(label: str) -> str:
    """An hour as a file name without suffix: "2021-04-02T20:00:00+01:00" -> "2021-04-02T20+0100"."""
    date, time = label.split("T")
    return f"{date}T{time[:2]}{time[8:].replace(':', '')}"


class _WriteNewest(SinkDoFn):
    """Panes come late, twice, and in any order.

    A file's state is of how many events it was written, how many versions came, and of how many, where that is known.
    """

    _WRITTEN = ReadModifyWriteStateSpec("written", FastPrimitivesCoder())

    def __init__(self, folder: str, token: str, goes_on: bool) -> None:
        self._folder, self._token, self._goes_on = folder, token, goes_on

    def process(self, version: Version, written: Any = beam.DoFn.StateParam(_WRITTEN)) -> Iterator[str]:
        name, content = version
        path = FileSystems.join(self._folder, name)
        size, came, last = written.read() or (0, 0, 0)
        if isinstance(content, int):
            last = content
        else:
            came += 1
            if content[0] > size and (size or not _stays(path, *content)):
                self._write(path, *content, first=not size)
                size = content[0]
                yield shown(path)
        if came == last:
            written.clear()
            if size and name.endswith(".csv"):
                self._put(final_mark(path), b"")
        else:
            written.write((size, came, last))

    def _write(self, path: str, size: int, data: bytes, first: bool) -> None:
        if first and not self._goes_on and path.endswith(".csv"):
            delete_file(final_mark(path))
        self._put(path, data)
        local_run.written[path] = size
        local_run.held_back.pop(path, None)

    def _put(self, path: str, data: bytes) -> None:
        _make_again(self._folder)
        with atomic_file(path, self._token) as stream:
            stream.write(data)


def final_mark(path: str) -> str:
    """The empty file beside a report that no event can change any more."""
    return f"{path.removesuffix('.csv')}{_FINAL}"


def final_hours(folder: str) -> frozenset[str]:
    """The names of hours that are marked as final in a folder of this machine."""
    return frozenset(name.removesuffix(_FINAL) for name in os.listdir(folder) if name.endswith(_FINAL))


def _stays(path: str, size: int, data: bytes) -> bool:
    """Whether a file of an earlier run holds more than this run has for it. Says so once: inputs may be gone."""
    there, here = _rows(path, _read(path)), _rows(path, data)
    if there <= here:
        return False
    if not local_run.held_back:
        logging.getLogger(__name__).warning(
            "%s, of an earlier run, holds more (%d) than this run has so far (%d): it stays until this one has as "
            "many; so do others",
            shown(path),
            there,
            here,
        )
    local_run.held_back[path] = size
    return True


def _read(path: str) -> bytes:
    """A file of an earlier run or bundle; nothing where there is none."""
    if not FileSystems.exists(path):
        return b""
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
        data: bytes = stream.read()
        return data


def _rows(path: str, data: bytes) -> int:
    """How many events or ids a file holds; 0 where it is none of this program's."""
    if path.endswith(".txt"):
        return data.count(b"\n")
    try:
        return sum(map(int, data.split(b"\n")[1].split(b",")[1:-1]))
    except (ValueError, IndexError):
        return 0


def _make_again(folder: str) -> None:
    """Somebody may have removed a folder on this machine since the stream began."""
    if is_local(folder):
        os.makedirs(folder, exist_ok=True)


@dataclasses.dataclass
class WriteHours(beam.PTransform):  # type: ignore[misc]
    """Writes files of a folder: PCollection[Version] -> PCollection[str], the path of each file that was written.

    Each version replaces its file whole, unless it holds no more than what was written before, or less than what an
    earlier run has left there. What was written of a file is known until it is closed and all its versions came; beside
    a report its `.final` appears then. goes_on: with the reports of earlier runs; else their marks go before they do.
    Windows: any; what was written is known per file and window.
    """

    folder: str
    token: str
    goes_on: bool = False

    def expand(self, versions: beam.PCollection[Version]) -> beam.PCollection[str]:
        newest = beam.ParDo(_WriteNewest(self.folder, self.token, self.goes_on))
        return versions | "Write newest" >> newest.with_output_types(str)


def write_lines(folder: str, token: str, lines: bytes) -> str:
    """Writes lines under a name by their bytes, so that those that come again write the same file; the path."""
    path: str = FileSystems.join(folder, f"{hashlib.blake2b(lines, digest_size=16).hexdigest()}.jsonl")
    _make_again(folder)
    with atomic_file(path, token) as stream:
        stream.write(lines)
    return shown(path)


class _ByMinute(beam.DoFn):  # type: ignore[misc]
    """Rejects of a bundle by the minute in which their file was written; many of one block at once as _LARGE."""

    def start_bundle(self) -> None:
        self._held: dict[str, list[bytes]] = {}

    def process(self, found: tuple[int, tuple[Reject, ...]]) -> Iterator[Any]:
        arrived, rejects = found
        lines = reject_lines(rejects)[1]
        if len(lines) > _LARGE_BYTES:
            yield beam.pvalue.TaggedOutput(_LARGE, lines)
        else:
            self._held.setdefault(time.strftime("%Y-%m-%dT%H-%MZ", time.gmtime(arrived)), []).append(lines)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        yield from map(in_global_window, self._held.items())


class _AddToMinutes(SinkDoFn):
    """Adds the lines of blocks to a minute's file, those that are not there: what comes again changes nothing."""

    _STATE = ReadModifyWriteStateSpec("unused", BooleanCoder())  # what has state has its bundles one after the other

    def __init__(self, folder: str, token: str) -> None:
        self._folder, self._token = folder, token

    def process(self, pane: tuple[str, Iterable[list[bytes]]], _: Any = beam.DoFn.StateParam(_STATE)) -> Iterator[str]:
        minute, pieces = pane
        path = FileSystems.join(self._folder, f"{minute}.jsonl")
        there = _read(path)
        known = set(there.splitlines(keepends=True))
        new = [piece for some in pieces for piece in some if not known.issuperset(piece.splitlines(keepends=True))]
        if len(there) + sum(map(len, new)) > _MINUTE_BYTES:
            yield from (write_lines(self._folder, self._token, piece) for piece in new)
        elif new:
            _make_again(self._folder)
            with atomic_file(path, self._token) as stream:
                stream.write(b"".join((there, *new)))
            yield shown(path)


@dataclasses.dataclass
class AtPace(beam.PTransform):  # type: ignore[misc]
    """Gathers what comes within some seconds, at the end the rest: PCollection[tuple[K, T]] -> [tuple[K, Iterable[T]]].

    The window is the global one: nothing is late for it, and it ends with the stream. Its lateness lets it last a day
    longer, to the end of all time: Prism drops the state of a window at its end, and fails where a timer fires then.
    """

    seconds: int

    def expand(self, pairs: beam.PCollection[tuple[Any, Any]]) -> beam.PCollection[tuple[Any, Iterable[Any]]]:
        pace = AfterProcessingTime(self.seconds)
        window = beam.WindowInto(
            GlobalWindows(),
            trigger=AfterWatermark(early=pace, late=pace),
            accumulation_mode=AccumulationMode.DISCARDING,
            allowed_lateness=2 * 86400,
        )
        return pairs | "At pace" >> window | "Gather" >> beam.GroupByKey()


@dataclasses.dataclass
class WriteRejects(beam.PTransform):  # type: ignore[misc]
    """Writes rejects to few files: PCollection[tuple[int, tuple[Reject, ...]]] -> PCollection[str], minutes' paths.

    Each element is of a block: when its file was written, Unix seconds, and its rejects. They go to the file of that
    minute, so that a bundle or a run that comes again finds them there; many of a block (_LARGE_BYTES), and what finds
    its minute full (_MINUTE_BYTES), to a file a block, named by its bytes. seconds: between two writes; None: a bundle.
    """

    folder: str
    token: str
    seconds: int | None

    def expand(self, rejects: beam.PCollection[tuple[int, tuple[Reject, ...]]]) -> beam.PCollection[str]:
        parts = rejects | "By minute" >> beam.ParDo(_ByMinute()).with_outputs(_LARGE, main="small")
        small = typed(parts.small, tuple[str, list[bytes]])
        if self.seconds is None:
            alone = beam.MapTuple(lambda minute, pieces: (minute, [pieces]))
            panes = small | "Alone" >> alone.with_output_types(tuple[str, list[list[bytes]]])
        else:
            panes = small | AtPace(self.seconds)
        write = partial(write_lines, self.folder, self.token)
        _ = typed(parts[_LARGE], bytes) | "Write" >> beam.Map(write).with_output_types(str)
        return panes | "Add" >> beam.ParDo(_AddToMinutes(self.folder, self.token)).with_output_types(str)
