"""Spills large values to temporary files (`.NAME.TOKEN-...`) instead of shuffling them."""

import os
import uuid
from collections.abc import Hashable, Iterable, Iterator
from typing import Any, Union

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.engine.threads import read_ahead
from pipeline.storage.files import InputFile, is_local, printable_path
from pipeline.storage.objects import delete_file, new_object, store_of
from pipeline.storage.outputs import explained
from pipeline.storage.temporary import open_private, temporary_path, temporary_prefix

SpilledValue = Union[bytes, tuple[bytes, int, int]]
"""(path, offset, length), or the bytes inline. The path is in bytes, since coders reject names that are not UTF-8."""

_FLUSH_BYTES = 64 * 1024 * 1024
_INLINE_BYTES = 64 * 1024


class Spill(beam.DoFn):  # type: ignore[misc]
    """Spills large values to temporary files: list[tuple[key, bytes]] -> tuple[key, SpilledValue], global window.

    Takes one list per block, since a runner spends 5 us per element: one element per partition would cost about 1 s for
    100 M events.

    A runner copies shuffled values about ten times: 200 MB of ids took 3 s and 1 GB of memory. The values of a bundle
    are joined by key and written whenever they exceed _FLUSH_BYTES in total. Bundles of at most _INLINE_BYTES in total
    are emitted inline.
    """

    def __init__(self, path: str, token: str) -> None:
        self._path, self._token = path, token

    def start_bundle(self) -> None:
        self._buffer: dict[Hashable, list[bytes]] = {}
        self._size = 0

    def process(self, pairs: list[tuple[Any, bytes]]) -> Iterator[WindowedValue]:
        for key, data in pairs:
            self._buffer.setdefault(key, []).append(data)
            self._size += len(data)
        if self._size > _FLUSH_BYTES:
            yield from self._write()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._size > _INLINE_BYTES:
            yield from self._write()
        else:
            yield from (in_global_window((key, b"".join(values))) for key, values in self._buffer.items())

    def _write(self) -> Iterator[WindowedValue]:
        path = _new_path(self._path, self._token)
        spilled = []
        offset = 0
        with explained(self._path), open_private(path) if is_local(path) else new_object(path) as stream:
            for key, values in self._buffer.items():
                stream.write(b"".join(values))
                length = sum(map(len, values))
                spilled.append((key, (os.fsencode(path), offset, length)))
                offset += length
        self.start_bundle()
        return map(in_global_window, spilled)


def in_global_window(value: Any, timestamp: Any = MIN_TIMESTAMP) -> WindowedValue:
    """Returns a value in the global window."""
    return WindowedValue(value, timestamp, (GlobalWindow(),))


def size_of(value: SpilledValue) -> int:
    """Returns the size of a value in bytes."""
    return len(value) if isinstance(value, bytes) else value[2]


def read_each_spilled(values: Iterable[SpilledValue]) -> Iterator[bytes]:
    """Reads values in order, prefetching from buckets.

    Raises:
      OSError: a temporary file cannot be read.
    """
    return (get() for _, get in read_ahead(read_spilled, values, size_of, _is_local))


def _is_local(value: SpilledValue) -> bool:
    return isinstance(value, bytes) or is_local(os.fsdecode(value[0]))


def read_spilled(value: SpilledValue) -> bytes:
    """Returns a value, read from its temporary file unless it is inline.

    Raises:
      OSError: its temporary file cannot be read.
    """
    if isinstance(value, bytes):
        return value
    name, offset, length = value
    path = os.fsdecode(name)
    if not is_local(path):
        return store_of(path).read(InputFile(path, -1, printable_path(path)), offset, offset + length).data
    with open(path, "rb") as stream:
        stream.seek(offset)
        data = stream.read(length)
    if len(data) < length:
        raise OSError(f"temporary file {printable_path(path)} is truncated: {len(data)} of {length} bytes at {offset}")
    return data


def _new_path(path: str, token: str) -> str:
    return temporary_path(path, token) if is_local(path) else _object_prefix(path, token) + uuid.uuid4().hex


def _object_prefix(path: str, token: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/{temporary_prefix(name, token)}"


def remove_objects(path: str, token: str) -> None:
    """Removes the temporary objects of a run beside an output; raises OSError. token: the run's."""
    for file in store_of(path).list(_object_prefix(path, token)):
        delete_file(file.path)
