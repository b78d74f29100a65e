"""Shuffling large values by temporary files beside an output, instead of through the runner."""

import os
from collections.abc import Hashable, Iterable, Iterator
from typing import Any, Union

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.storage.files import NewFile, is_local, shown
from pipeline.storage.local import open_private
from pipeline.storage.temporary import explained, temporary_name

Stored = Union[bytes, tuple[bytes, int, int]]
"""Bytes, or where they are: a file, how many bytes are before them, how many they are.

The file's name is in bytes, since coders take no text for names that are not UTF-8."""


_HELD_BYTES = 64 * 1024 * 1024  # by a bundle


_INLINE_BYTES = 64 * 1024


class Spill(beam.DoFn):  # type: ignore[misc]
    """Puts what is large into files instead of the shuffle: tuple[key, bytes] -> tuple[key, Stored], global window.

    A runner copies what it shuffles about ten times: 200 MB of ids took 3 s and 1 GB of memory. The bytes of a bundle
    that have the same key are joined, up to _HELD_BYTES in all; fewer than _INLINE_BYTES stay as they are.
    """

    def __init__(self, path: str, token: str) -> None:
        self._path, self._token = path, token

    def start_bundle(self) -> None:
        self._held: dict[Hashable, list[bytes]] = {}
        self._size = 0

    def process(self, element: Any) -> Iterator[WindowedValue]:
        yield from self._hold([element])

    def _hold(self, pairs: list[tuple[Any, bytes]]) -> Iterator[WindowedValue]:
        for key, data in pairs:
            self._held.setdefault(key, []).append(data)
            self._size += len(data)
        if self._size > _HELD_BYTES:
            yield from self._write()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._size > _INLINE_BYTES:
            yield from self._write()
        else:
            yield from (in_global_window((key, b"".join(pieces))) for key, pieces in self._held.items())

    def _write(self) -> Iterator[WindowedValue]:
        path = temporary_name(self._path, self._token)
        stored = []
        start = 0
        with explained(self._path), open_private(path) if is_local(path) else NewFile(path) as stream:
            for key, pieces in self._held.items():
                stream.write(b"".join(pieces))
                size = sum(map(len, pieces))
                stored.append((key, (os.fsencode(path), start, size)))
                start += size
        self.start_bundle()
        return map(in_global_window, stored)


class SpillAll(Spill):
    """As Spill, for pairs that come many at a time: list[tuple[key, bytes]] -> tuple[key, Stored].

    An element costs a runner 5 us: of 128 partitions of each block, a second for 100 M events.
    """

    def process(self, element: Any) -> Iterator[WindowedValue]:
        yield from self._hold(element)


def in_global_window(value: Any) -> WindowedValue:
    """A value as the output of finish_bundle."""
    return WindowedValue(value, MIN_TIMESTAMP, (GlobalWindow(),))


def size_of(stored: Stored) -> int:
    """How many bytes they are."""
    return len(stored) if isinstance(stored, bytes) else stored[2]


def fetch_all(pieces: Iterable[Stored]) -> bytearray:
    """The bytes of all, joined. Raises what fetch does."""
    data = bytearray()
    for stored in pieces:
        data += fetch(stored)
    return data


def fetch(stored: Stored) -> bytes:
    """The bytes themselves.

    Raises:
      OSError: their file cannot be read.
    """
    if isinstance(stored, bytes):
        return stored
    name, start, size = stored
    path = os.fsdecode(name)
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
        stream.seek(start)
        data: bytes = stream.read(size)
    if len(data) < size:
        raise OSError(f"{shown(path)} was cut off")
    return data
