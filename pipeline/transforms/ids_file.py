"""Writes the list of unique ids: ids are spilled to temporary files, and merged as they are written."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam

from pipeline.engine.spill import SpilledValue, read_all_spilled
from pipeline.engine.threads import map_in_threads
from pipeline.model.events import Batch
from pipeline.model.ids import PARTITIONS, id_lines, merge_pieces
from pipeline.model.table import Table
from pipeline.storage.files import printable_path
from pipeline.storage.outputs import atomic_file
from pipeline.transforms.format import check_id_count
from pipeline.transforms.ids import by_partition, partition_ids


class _Publish(beam.DoFn):  # type: ignore[misc]
    def __init__(self, path: str, token: str) -> None:
        self._path, self._token = path, token

    def process(self, _: bytes, pieces: Iterable[tuple[int, SpilledValue]], tables: Iterable[Table]) -> Iterator[str]:
        parts: dict[int, list[SpilledValue]] = defaultdict(list)
        for number, stored in pieces:
            parts[number].append(stored)
        events = 0
        with atomic_file(self._path, self._token) as stream:
            for lines, count in map_in_threads(self._lines, [parts[number] for number in sorted(parts)]):
                stream.write(lines)
                events += count
            check_id_count(events, tables)
        yield printable_path(self._path)

    def _lines(self, pieces: Sequence[SpilledValue]) -> tuple[bytes, int]:
        ids, events = merge_pieces(read_all_spilled(pieces))
        return id_lines(ids), events


@dataclasses.dataclass
class WriteIds(beam.PTransform):  # type: ignore[misc]
    """Writes each id once, a line each: PCollection[Batch] -> PCollection[str], the file's path once it is there.

    One worker merges in threads and writes: lines of 10 M ids that workers format and spill take 0.3 s more. Global
    window.

    Args:
      path: of the file.
      token: of the run, whose lock protects and removes temporary files.
      tables: count the same events; if they fail, nothing is written.
      partitions: of ids, a power of two.
      spill: path beside which ids are spilled, and which all workers see; default: the file's.

    Raises:
      MismatchError: the ids are not those of all events that tables count.
    """

    path: str
    token: str
    tables: beam.PCollection[Table]
    partitions: int = PARTITIONS
    spill: str | None = None

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[str]:
        pieces = by_partition(partition_ids(batches, self.partitions), (self.spill or self.path, self.token))
        sides = (beam.pvalue.AsIter(pieces), beam.pvalue.AsIter(self.tables))
        publish = beam.ParDo(_Publish(self.path, self.token), *sides).with_output_types(str)
        return batches.pipeline | "Once" >> beam.Impulse() | "Merge and publish" >> publish
