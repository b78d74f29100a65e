"""The list of unique ids as a file: ids wait in temporary files, and are merged as they are written."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam

from pipeline.engine import progress
from pipeline.engine.spill import SpilledValue, read_all_spilled
from pipeline.engine.threads import in_threads
from pipeline.model.events import Batch
from pipeline.model.ids import PARTITIONS, id_lines, merge_pieces
from pipeline.model.table import Table
from pipeline.storage.atomic import atomic_file
from pipeline.storage.files import printable_path
from pipeline.transforms.format import check_came
from pipeline.transforms.ids import by_partition, partition_ids


class _Publish(beam.DoFn):  # type: ignore[misc]
    def __init__(self, path: str, token: str, partitions: int) -> None:
        self._path, self._token, self._partitions = path, token, partitions

    def process(self, _: bytes, pieces: Iterable[tuple[int, SpilledValue]], tables: Iterable[Table]) -> Iterator[str]:
        parts: dict[int, list[SpilledValue]] = defaultdict(list)
        for number, stored in pieces:
            parts[number].append(stored)
        total = 0
        with atomic_file(self._path, self._token) as stream:
            for lines, came in in_threads(self._lines, [parts[number] for number in sorted(parts)]):
                stream.write(lines)
                total += came
                progress.add(progress.MERGING, 1, len(parts))
            check_came(total, tables)
        yield printable_path(self._path)

    def _lines(self, pieces: Sequence[SpilledValue]) -> tuple[bytes, int]:
        ids, came = merge_pieces(read_all_spilled(pieces))
        return id_lines(ids), came


@dataclasses.dataclass
class WriteIds(beam.PTransform):  # type: ignore[misc]
    """Writes each id once, a line each: PCollection[Batch] -> PCollection[str], the file's path once it is there.

    One worker merges, in threads, and writes: of 10 M ids the lines take a third of a second to go through files of
    their own. Global window.

    Args:
      path: the file.
      token: the run's, of temporary files that `spill.remove_leftovers` removes.
      tables: what counts the same events; where it fails, nothing is written.
      partitions: of ids, a power of two.
      spill: ids wait in temporary files beside this path, which all workers see; by default beside the file.

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
        publish = beam.ParDo(_Publish(self.path, self.token, self.partitions), *sides).with_output_types(str)
        return batches.pipeline | "Once" >> beam.Impulse() | "Merge and publish" >> publish
