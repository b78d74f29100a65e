"""Buckets in this process's memory, as Beam's file system `mem://`: what is whole when it is closed, flat names."""

import io
import threading
from collections.abc import Iterator
from typing import Any

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata, FileSystem

OBJECTS: dict[str, bytes] = {}
"""The objects by their paths; the fixture empty_bucket clears them."""

TIMES: dict[str, float] = {}
"""When objects were written, where that is not 1.0."""

_lock = threading.Lock()


class _NewObject(io.BytesIO):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def close(self) -> None:
        if not self.closed:
            with _lock:
                OBJECTS[self._path] = self.getvalue()
        super().close()


class MemoryBucket(FileSystem):  # type: ignore[misc]
    """Objects of OBJECTS. Beam finds it by its scheme."""

    @classmethod
    def scheme(cls) -> str:
        return "mem"

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join((basepath.rstrip("/"), *paths))

    def split(self, path: str) -> tuple[str, str]:
        folder, _, name = path.rpartition("/")
        return folder, name

    def mkdirs(self, path: str) -> None:
        pass

    def has_dirs(self) -> bool:
        return False

    def _list(self, prefix: str) -> Iterator[FileMetadata]:
        return (
            FileMetadata(path, len(data), TIMES.get(path, 1.0))
            for path, data in sorted(OBJECTS.items())
            if path.startswith(prefix)
        )

    def create(self, path: str, mime_type: str = "", compression_type: str = CompressionTypes.AUTO) -> Any:
        return _NewObject(path)

    def open(self, path: str, mime_type: str = "", compression_type: str = CompressionTypes.AUTO) -> Any:
        if path not in OBJECTS:
            raise BeamIOError("open", {path: FileNotFoundError(2, "No such object")})
        return io.BytesIO(OBJECTS[path])

    def exists(self, path: str) -> bool:
        return path in OBJECTS

    def delete(self, paths: list[str]) -> None:
        for path in paths:
            OBJECTS.pop(path, None)

    def _unused(self, *_: Any) -> Any:
        raise NotImplementedError

    metadata = rename = size = copy = last_updated = checksum = _unused
