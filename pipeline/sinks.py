"""Sinks: one file under its exact name, whole or not at all, on any Beam file system.

A file is put together from pieces that workers made in parallel. Large pieces wait in part files beside the target;
then one worker joins them in order under a temporary name and renames it. In a bucket too, where a rename is a copy by
the service and a deletion: an upload that breaks off may still be completed by its client, under the name it has. All
temporary names are hidden (`.NAME.TOKEN-...`), and `remove_leftovers` removes those of a run that failed.
"""

import contextlib
import dataclasses
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipeline.errors import OutputError
from pipeline.files import NewFile, explain, is_io_error, is_local
from pipeline.quick import QuickDoFn
from pipeline.transforms import Piece

_INLINE_BYTES = 64 * 1024  # larger pieces go through part files instead of the shuffle
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}-[0-9a-f]{32}")
_COPY_BYTES = 4 * 1024 * 1024

StoredPiece = tuple[Any, bytes, str]  # place in the order, bytes, or the part file that holds them


def temporary_name(path: str, token: str) -> str:
    """A new hidden name beside path; token: the run's."""
    folder, name = FileSystems.split(path)
    return str(FileSystems.join(folder, f".{name}.{token}-{uuid.uuid4().hex}"))


def remove_leftovers(path: str, token: str) -> None:
    """Removes a run's temporary files beside path."""
    folder, name = FileSystems.split(path)
    prefix = f".{name}.{token}-"
    if is_local(path):  # Beam would walk the whole tree below the folder
        found = [os.path.join(folder, entry) for entry in os.listdir(folder) if entry.startswith(prefix)]
    else:
        found = [file.path for file in FileSystems.match([FileSystems.join(folder, prefix + "*")])[0].metadata_list]
    if found:
        FileSystems.delete(found)


def clean_folder(folder: str) -> None:
    """Removes the temporary files that killed runs have left in a folder of this machine."""
    for entry in os.listdir(folder):
        if _TEMPORARY.fullmatch(entry):
            os.remove(os.path.join(folder, entry))


@contextmanager
def atomic_file(path: str, token: str = "tmp") -> Iterator[NewFile]:
    """A file that appears under its name when the block ends, over an earlier one; not at all if the block raises.

    Raises:
      OutputError: it cannot be written.
    """
    temporary = temporary_name(path, token)
    try:
        with NewFile(temporary) as stream:
            yield stream
        FileSystems.rename([temporary], [path])
    except BaseException as error:
        with contextlib.suppress(Exception):  # the first error is the one to tell; remove_leftovers tries again
            if FileSystems.exists(temporary):
                FileSystems.delete([temporary])
        if is_io_error(error):
            raise OutputError(f"{path}: cannot be written: {explain(error)}") from None
        raise


class _StorePiece(QuickDoFn):
    def __init__(self, path: str, token: str) -> None:
        self._path, self._token = path, token

    def process(self, piece: Piece) -> Iterator[StoredPiece]:
        place, data = piece
        if len(data) <= _INLINE_BYTES:
            yield place, data, ""
            return
        part = temporary_name(self._path, self._token)
        try:
            with NewFile(part) as stream:
                stream.write(data)
        except Exception as error:
            if not is_io_error(error):
                raise
            raise OutputError(f"{part}: cannot be written: {explain(error)}") from None
        yield place, b"", part


class _PublishAll(QuickDoFn):
    def __init__(self, path: str, token: str) -> None:
        self._path, self._token = path, token

    def process(self, _: bytes, pieces: Iterable[StoredPiece], *after: Any) -> Iterator[str]:
        with atomic_file(self._path, self._token) as stream:
            for _, data, part in sorted(pieces, key=lambda piece: piece[0]):
                stream.write(data)
                if part:
                    _append(part, stream)
        yield self._path


class _PublishOne(QuickDoFn):
    def __init__(self, path: str, token: str) -> None:
        self._path, self._token = path, token

    def process(self, piece: Piece) -> Iterator[str]:
        with atomic_file(self._path, self._token) as stream:
            stream.write(piece[1])
        yield self._path


def _append(part: str, stream: NewFile) -> None:
    with FileSystems.open(part, compression_type=CompressionTypes.UNCOMPRESSED) as source:
        while data := source.read(_COPY_BYTES):
            stream.write(data)


@dataclasses.dataclass
class WriteFile(beam.PTransform):  # type: ignore[misc]
    """Writes one file from many pieces: PCollection[Piece] -> PCollection[str], its path once it is there.

    Pieces are (place in the order, bytes); without pieces the file is empty. token: the run's. after: a PCollection
    that must be there first; where it fails, nothing is written. A retry writes the same file again.
    """

    path: str
    token: str
    after: beam.PCollection[Any] | None = None

    def expand(self, pieces: beam.PCollection[Piece]) -> beam.PCollection[str]:
        store = beam.ParDo(_StorePiece(self.path, self.token)).with_output_types(StoredPiece)
        side_inputs = [beam.pvalue.AsIter(pieces | "Store pieces" >> store)]
        side_inputs += [beam.pvalue.AsIter(self.after)] if self.after else []
        publish = beam.ParDo(_PublishAll(self.path, self.token), *side_inputs).with_output_types(str)
        return pieces.pipeline | "Once" >> beam.Impulse() | "Publish" >> publish


@dataclasses.dataclass
class WritePiece(beam.PTransform):  # type: ignore[misc]
    """Writes one file from its only piece: PCollection[Piece] -> PCollection[str]. As WriteFile, in a stage less."""

    path: str
    token: str

    def expand(self, pieces: beam.PCollection[Piece]) -> beam.PCollection[str]:
        publish = beam.ParDo(_PublishOne(self.path, self.token)).with_output_types(str)
        return pieces | "Publish" >> publish
