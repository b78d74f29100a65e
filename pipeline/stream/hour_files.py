"""The sinks of a stream: a file an hour, rewritten by each newer version, and a folder of rejects."""

import dataclasses
import hashlib
import logging
import os
from collections.abc import Iterator
from typing import Any, Union

import apache_beam as beam
from apache_beam.coders import FastPrimitivesCoder
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec

from pipeline.engine.local_run import local_run
from pipeline.storage.atomic import atomic_file
from pipeline.storage.files import delete_file, is_local, shown

Version = tuple[str, Union[tuple[int, bytes], int]]
"""A file's name; and of how many events it is, and its bytes. Or how many versions it has in all: it is closed then."""

_FINAL = ".final"


def hour_name(label: str) -> str:
    """An hour as a file name without suffix: "2021-04-02T20:00:00+01:00" -> "2021-04-02T20+0100"."""
    date, time = label.split("T")
    return f"{date}T{time[:2]}{time[8:].replace(':', '')}"


class _WriteNewest(beam.DoFn):  # type: ignore[misc]
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
    there, here = _rows_there(path), _rows(path, data)
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


def _rows_there(path: str) -> int:
    """As _rows, of a file that was there before the run; 0 where there is none."""
    if not FileSystems.exists(path):
        return 0
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
        return _rows(path, stream.read())


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


def write_lines(folder: str, token: str, piece: tuple[Any, bytes]) -> str:
    """Writes a piece under a name by its bytes, so that one that comes again writes the same file; the path."""
    digest = hashlib.blake2b(piece[1], digest_size=16).hexdigest()
    path = FileSystems.join(folder, f"{digest}.jsonl")
    _make_again(folder)
    with atomic_file(path, token) as stream:
        stream.write(piece[1])
    return str(path)


class _WriteLines(beam.DoFn):  # type: ignore[misc]
    def __init__(self, folder: str, token: str) -> None:
        self._folder, self._token = folder, token

    def process(self, piece: tuple[Any, bytes]) -> Iterator[str]:
        yield shown(write_lines(self._folder, self._token, piece))


@dataclasses.dataclass
class WriteLines(beam.PTransform):  # type: ignore[misc]
    """Writes a file a piece: PCollection[Piece] -> PCollection[str]. A piece that comes again writes the same file."""

    folder: str
    token: str

    def expand(self, pieces: beam.PCollection[tuple[Any, bytes]]) -> beam.PCollection[str]:
        return pieces | "Write lines" >> beam.ParDo(_WriteLines(self.folder, self.token)).with_output_types(str)
