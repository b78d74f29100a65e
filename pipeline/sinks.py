"""Sinks: one file under its exact name, whole or not at all, on any Beam file system.

A file is put together from pieces that workers made in parallel. Large pieces wait in part files beside the target;
then one worker joins them in order under a temporary name and renames it. All temporary names are hidden
(`.NAME.TOKEN-...`), and `remove_leftovers` removes those of a run that failed.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import apache_beam as beam
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipeline.errors import PipelineError, RejectsError
from pipeline.sources import is_local
from pipeline.tally import Tally, explain_rejects
from pipeline.transforms import Piece

_INLINE_BYTES = 64 * 1024  # larger pieces go through part files instead of the shuffle
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


@contextmanager
def atomic_file(path: str, token: str = "tmp") -> Iterator[BinaryIO]:
    """A file that appears under its name when the block ends, over an earlier one; not at all if the block raises.

    Raises:
      PipelineError: it cannot be written.
    """
    temporary = temporary_name(path, token)
    try:
        with FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            yield stream
        FileSystems.rename([temporary], [path])
    except BaseException as error:
        if FileSystems.exists(temporary):
            FileSystems.delete([temporary])
        if isinstance(error, (OSError, BeamIOError)):
            raise PipelineError(f"{path}: cannot be written: {error}") from None
        raise


class _StorePiece(beam.DoFn):  # type: ignore[misc]
    def __init__(self, path: str, token: str) -> None:
        self._path, self._token = path, token

    def process(self, piece: Piece) -> Iterator[StoredPiece]:
        place, data = piece
        if len(data) <= _INLINE_BYTES:
            yield place, data, ""
            return
        part = temporary_name(self._path, self._token)
        with FileSystems.create(part, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            stream.write(data)
        yield place, b"", part


class _Publish(beam.DoFn):  # type: ignore[misc]
    def __init__(self, path: str, token: str, keep_rejects: bool) -> None:
        self._path, self._token, self._keep_rejects = path, token, keep_rejects

    def process(self, pieces: list[StoredPiece], tally: Tally) -> Iterator[str]:
        if tally.rejected and not self._keep_rejects:
            raise RejectsError(explain_rejects(tally), tally)
        ordered = sorted(pieces, key=lambda piece: piece[0])
        with atomic_file(self._path, self._token) as stream:
            for _, data, part in ordered:
                stream.write(data)
                if part:
                    _append(part, stream)
        yield self._path


def _append(part: str, stream: BinaryIO) -> None:
    with FileSystems.open(part, compression_type=CompressionTypes.UNCOMPRESSED) as source:
        while data := source.read(_COPY_BYTES):
            stream.write(data)


class WriteFile(beam.PTransform):  # type: ignore[misc]
    """Writes one file: PCollection[Piece] -> PCollection[str], its path once it is there.

    Pieces are (place in the order, bytes); without pieces the file is empty. tally (a singleton side input) decides:
    without keep_rejects nothing is written where there are rejects, but RejectsError raised. A retry writes the same
    file again.
    """

    def __init__(self, path: str, token: str, tally: Any, keep_rejects: bool) -> None:
        super().__init__()
        self._path, self._token, self._tally, self._keep_rejects = path, token, tally, keep_rejects

    def expand(self, pieces: beam.PCollection[Piece]) -> beam.PCollection[str]:
        return (
            pieces
            | "Store pieces" >> beam.ParDo(_StorePiece(self._path, self._token)).with_output_types(StoredPiece)
            | "Gather" >> beam.CombineGlobally(beam.combiners.ToListCombineFn())
            | "Publish"
            >> beam.ParDo(_Publish(self._path, self._token, self._keep_rejects), self._tally).with_output_types(str)
        )
