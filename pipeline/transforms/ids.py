"""Unique ids: by sets of each block, shuffled by hash partition."""

import dataclasses
from collections.abc import Iterable, Iterator

import apache_beam as beam

from pipeline.engine import progress
from pipeline.engine.coders import typed
from pipeline.engine.spill import Spill, Stored, fetch
from pipeline.engine.threads import ThreadedDoFn
from pipeline.model import ids as id_sets
from pipeline.model.events import Batch, Ids

Share = tuple[int, int]
"""A hash partition, and of how many events it got the ids."""


class _PartitionIds(ThreadedDoFn):
    """Makes a set of a batch's ids, so that an id is shuffled once a block however often it comes."""

    def __init__(self, partitions: int) -> None:
        super().__init__()
        self._partitions = partitions

    def work(self, batch: Batch) -> list[tuple[int, bytes]]:
        return list(id_sets.counted_pieces(batch.ids, self._partitions))

    def emit(self, pieces: list[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        yield from pieces


class _MergeIds(ThreadedDoFn):
    def __init__(self, partitions: int) -> None:
        super().__init__()
        self._partitions = partitions

    def work(self, partition: tuple[int, Iterable[Stored]]) -> tuple[Share, Ids]:
        number, pieces = partition
        merged, came = id_sets.merge_pieces(b"".join(map(fetch, pieces)))
        progress.add(progress.MERGING, 1, self._partitions)
        return (number, came), merged


@dataclasses.dataclass
class DistinctIds(beam.PTransform):  # type: ignore[misc]
    """Unique ids: PCollection[Batch] -> PCollection[tuple[Share, Ids]], a set for each hash partition that has ids.

    spill: an output's path and the run's token, to shuffle many ids by temporary files beside the output (global
    window only), which `temporary.remove_leftovers` removes. partitions: how many, a power of two.
    """

    spill: tuple[str, str] | None = None
    partitions: int = id_sets.PARTITIONS

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[tuple[Share, Ids]]:
        split = beam.ParDo(_PartitionIds(self.partitions))
        pieces = typed(batches | "Partition by hash" >> split, tuple[int, bytes])
        if self.spill:
            pieces = pieces | "Spill" >> beam.ParDo(Spill(*self.spill)).with_output_types(tuple[int, Stored])
        merged = pieces | "Group partitions" >> beam.GroupByKey() | "Merge" >> beam.ParDo(_MergeIds(self.partitions))
        return typed(merged, tuple[Share, Ids])  # type: ignore[no-any-return]


class UniqueIds(beam.PTransform):  # type: ignore[misc]
    """Each id once: PCollection[Batch] -> PCollection[str]."""

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[str]:
        return (
            batches
            | DistinctIds()
            | "Unpack" >> beam.FlatMapTuple(lambda _, ids: [i.decode() for i in ids.to_list()]).with_output_types(str)
        )
