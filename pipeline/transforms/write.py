"""Sinks that atomically write one file, without a shard suffix, locally or in a bucket.

Workers format pieces of the file in parallel, and spill large ones to temporary files; one worker writes them in order.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import apache_beam as beam

from pipeline.engine.spill import Spill, SpilledValue, read_each_spilled, size_of
from pipeline.storage.files import printable_path
from pipeline.storage.outputs import atomic_file
from pipeline.transforms.format import Piece

Check = Callable[[Sequence[tuple[Any, int]], Iterable[Any]], None]
"""Raises PipelineError if pieces (the key and size of each) are inconsistent with the elements of `after`."""


class _PublishAll(beam.DoFn):  # type: ignore[misc]
    def __init__(self, path: str, token: str, check: Check | None) -> None:
        self._path, self._token, self._check = path, token, check

    def process(self, _: bytes, pieces: Iterable[tuple[Any, SpilledValue]], *after: Any) -> Iterator[str]:
        ordered = sorted(pieces, key=lambda piece: piece[0])
        if self._check:
            self._check([(key, size_of(spilled)) for key, spilled in ordered], chain(*after))
        with atomic_file(self._path, self._token) as stream:
            for piece in read_each_spilled(spilled for _, spilled in ordered):
                stream.write(piece)
        yield printable_path(self._path)


class _PublishOne(beam.DoFn):  # type: ignore[misc]
    def __init__(self, path: str, token: str, durable: bool) -> None:
        self._path, self._token, self._durable = path, token, durable

    def process(self, piece: Piece, *after: Any) -> Iterator[str]:
        with atomic_file(self._path, self._token, self._durable) as stream:
            stream.write(piece[1])
        yield printable_path(self._path)


@dataclasses.dataclass
class WriteFile(beam.PTransform):  # type: ignore[misc]
    """Writes one file from many pieces: PCollection[Piece] -> PCollection[str], the path of the written file.

    Pieces are sorted by key; without pieces the file is empty. Retries are idempotent.

    Args:
      path: path of the file.
      token: token of the run.
      after: a PCollection to compute first; if it fails, nothing is written.
      check: checks the pieces before they are written.
      spill_path: path beside which large pieces are spilled; default: path.
    """

    path: str
    token: str
    after: beam.PCollection[Any] | None = None
    check: Check | None = None
    spill_path: str | None = None

    def expand(self, pieces: beam.PCollection[Piece]) -> beam.PCollection[str]:
        spill = beam.ParDo(Spill(self.spill_path or self.path, self.token)).with_output_types(tuple[Any, SpilledValue])
        side_inputs = [beam.pvalue.AsIter(pieces | "Spill pieces" >> spill)]
        side_inputs += [beam.pvalue.AsIter(self.after)] if self.after else []
        publish = beam.ParDo(_PublishAll(self.path, self.token, self.check), *side_inputs).with_output_types(str)
        return pieces.pipeline | "Once" >> beam.Impulse() | "Publish" >> publish


@dataclasses.dataclass
class WritePiece(beam.PTransform):  # type: ignore[misc]
    """Writes one file from its only piece: PCollection[Piece] -> PCollection[str]. Has one stage fewer than WriteFile.

    Args:
      path: path of the file.
      token: token of the run.
      after: PCollections to compute first; if one fails, nothing is written.
      durable: sync a local file to the disk before it replaces the old one.
    """

    path: str
    token: str
    after: Sequence[beam.PCollection[Any]] = ()
    durable: bool = False

    def expand(self, pieces: beam.PCollection[Piece]) -> beam.PCollection[str]:
        side_inputs = map(beam.pvalue.AsIter, self.after)
        publish = beam.ParDo(_PublishOne(self.path, self.token, self.durable), *side_inputs).with_output_types(str)
        return pieces | "Publish" >> publish
