"""The sinks of a stream: a file an hour, rewritten by each newer version, and a folder of rejects."""

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.coders import VarIntCoder
from apache_beam.io.filesystems import FileSystems
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec

from pipeline.storage.atomic import atomic_file
from pipeline.storage.files import is_local, shown

written_here: dict[str, int] = {}
"""Of how many events each file is that was written by this process since this was cleared, by path."""

Version = tuple[str, tuple[int, bytes]]  # a file's name, of how many events it is, its bytes


def hour_name(label: str) -> str:
    """An hour as a file name without suffix: "2021-04-02T20:00:00+01:00" -> "2021-04-02T20+0100"."""
    date, time = label.split("T")
    return f"{date}T{time[:2]}{time[8:].replace(':', '')}"


class _WriteNewest(beam.DoFn):  # type: ignore[misc]
    """Panes come late, twice, and in any order; an hour's state is of how many events it was written."""

    _WRITTEN = ReadModifyWriteStateSpec("written", VarIntCoder())

    def __init__(self, folder: str, token: str) -> None:
        self._folder, self._token = folder, token

    def process(self, version: Version, written: Any = beam.DoFn.StateParam(_WRITTEN)) -> Iterator[str]:
        name, (size, data) = version
        if size <= (written.read() or 0):
            return
        path = FileSystems.join(self._folder, name)
        _make_again(self._folder)
        with atomic_file(path, self._token) as stream:
            stream.write(data)
        written.write(size)
        written_here[path] = size
        yield shown(path)


def _make_again(folder: str) -> None:
    """Somebody may have removed a folder on this machine since the stream began."""
    if is_local(folder):
        os.makedirs(folder, exist_ok=True)


@dataclasses.dataclass
class WriteHours(beam.PTransform):  # type: ignore[misc]
    """Writes files of a folder: PCollection[Version] -> PCollection[str], the path of each file that was written.

    Each version replaces its file whole, unless it holds no more than what was written before. Windows: any; what was
    written is known per file and window.
    """

    folder: str
    token: str

    def expand(self, versions: beam.PCollection[Version]) -> beam.PCollection[str]:
        return versions | "Write newest" >> beam.ParDo(_WriteNewest(self.folder, self.token)).with_output_types(str)


class _WriteLines(beam.DoFn):  # type: ignore[misc]
    def __init__(self, folder: str, token: str) -> None:
        self._folder, self._token = folder, token

    def process(self, piece: tuple[Any, bytes]) -> Iterator[str]:
        digest = hashlib.blake2b(piece[1], digest_size=16).hexdigest()
        path = FileSystems.join(self._folder, f"{digest}.jsonl")
        _make_again(self._folder)
        with atomic_file(path, self._token) as stream:
            stream.write(piece[1])
        yield shown(path)


@dataclasses.dataclass
class WriteLines(beam.PTransform):  # type: ignore[misc]
    """Writes a file a piece: PCollection[Piece] -> PCollection[str]. A piece that comes again writes the same file."""

    folder: str
    token: str

    def expand(self, pieces: beam.PCollection[tuple[Any, bytes]]) -> beam.PCollection[str]:
        return pieces | "Write lines" >> beam.ParDo(_WriteLines(self.folder, self.token)).with_output_types(str)
