"""Unique ids: sets of each block, shuffled by hash partition."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import apache_beam as beam

from pipeline.engine.coders import typed
from pipeline.engine.spill import SpillAll, SpilledValue, read_all_spilled
from pipeline.engine.threads import ThreadedDoFn
from pipeline.model import ids as id_sets
from pipeline.model.events import Batch, Ids

Pieces = list[tuple[int, bytes]]
"""Packed ids or events of a batch by hash partition."""

Share = tuple[int, int]
"""A hash partition, and the number of events whose ids are in it."""


class _PartitionIds(ThreadedDoFn):
    """Makes a set of a batch's ids, so that an id is shuffled once a block."""

    def __init__(self, partitions: int) -> None:
        super().__init__()
        self._partitions = partitions

    def work(self, batch: Batch) -> Pieces:
        return list(id_sets.counted_pieces(batch.ids, self._partitions))


class _MergeIds(ThreadedDoFn):
    def work(self, partition: tuple[int, Iterable[SpilledValue]]) -> tuple[Share, Ids]:
        number, pieces = partition
        merged, events = id_sets.merge_pieces(read_all_spilled(pieces))
        return (number, events), merged


def partition_ids(batches: beam.PCollection[Batch], partitions: int) -> beam.PCollection[Pieces]:
    """Partitions ids by hash: PCollection[Batch] -> PCollection[Pieces]. partitions: a power of two."""
    return typed(batches | "Partition by hash" >> beam.ParDo(_PartitionIds(partitions)), Pieces)  # type: ignore[no-any-return]


def by_partition(split: beam.PCollection[Pieces], spill: tuple[str, str] | None) -> beam.PCollection[Any]:
    """Keys pieces by partition: PCollection[Pieces] -> PCollection[tuple[int, SpilledValue]]. spill: path and token."""
    spread = beam.ParDo(SpillAll(*spill)) if spill else beam.FlatMap(iter)
    kind: Any = tuple[int, SpilledValue] if spill else tuple[int, bytes]
    return split | "By partition" >> spread.with_output_types(kind)


@dataclasses.dataclass
class DistinctIds(beam.PTransform):  # type: ignore[misc]
    """Unique ids: PCollection[Batch] -> PCollection[tuple[Share, Ids]], a set for each hash partition that has ids.

    partitions: how many, a power of two.
    """

    partitions: int = id_sets.PARTITIONS

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[tuple[Share, Ids]]:
        split = partition_ids(batches, self.partitions)
        grouped = by_partition(split, None) | "Group partitions" >> beam.GroupByKey()
        merged = grouped | "Merge" >> beam.ParDo(_MergeIds())
        return typed(merged, tuple[Share, Ids])  # type: ignore[no-any-return]


class UniqueIds(beam.PTransform):  # type: ignore[misc]
    """Each id once: PCollection[Batch] -> PCollection[str]."""

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[str]:
        return (
            batches
            | DistinctIds()
            | "Unpack" >> beam.FlatMapTuple(lambda _, ids: [i.decode() for i in ids.to_list()]).with_output_types(str)
        )
