"""Unique ids: one set per block, shuffled by hash partition."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import apache_beam as beam

from pipeline.engine.coders import typed
from pipeline.engine.spill import SpilledValue, SpillLists, read_all_spilled
from pipeline.engine.threads import ThreadedDoFn
from pipeline.model import ids as id_sets
from pipeline.model.events import Batch, Ids

PackedPartitions = list[tuple[int, bytes]]
"""Packed ids or event keys of a batch by hash partition."""

PartitionCount = tuple[int, int]
"""A hash partition, and its number of events."""


class _PartitionIds(ThreadedDoFn):
    """Deduplicates the ids of a batch, so that an id is shuffled once per block."""

    def __init__(self, partitions: int) -> None:
        super().__init__()
        self._partitions = partitions

    def work(self, batch: Batch) -> PackedPartitions:
        return list(id_sets.pack_partitions(batch.ids, self._partitions))


class _MergeIds(ThreadedDoFn):
    def work(self, partition: tuple[int, Iterable[SpilledValue]]) -> tuple[PartitionCount, Ids]:
        number, packed = partition
        merged, events = id_sets.merge_packed(read_all_spilled(packed))
        return (number, events), merged


def partition_ids(batches: beam.PCollection[Batch], partitions: int) -> beam.PCollection[PackedPartitions]:
    """Partitions ids by hash: PCollection[Batch] -> PCollection[PackedPartitions]. partitions: a power of two."""
    return typed(batches | "Partition by hash" >> beam.ParDo(_PartitionIds(partitions)), PackedPartitions)  # type: ignore[no-any-return]


def by_partition(split: beam.PCollection[PackedPartitions], spill: tuple[str, str] | None) -> beam.PCollection[Any]:
    """Keys packed sets by partition, spilled to files with `spill` (path and token), otherwise as bytes."""
    unpack = beam.ParDo(SpillLists(*spill)) if spill else beam.FlatMap(iter)
    kind: Any = tuple[int, SpilledValue] if spill else tuple[int, bytes]
    return split | "By partition" >> unpack.with_output_types(kind)


@dataclasses.dataclass
class DistinctIds(beam.PTransform):  # type: ignore[misc]
    """Unique ids by hash partition: PCollection[Batch] -> PCollection[tuple[PartitionCount, Ids]].

    partitions: their number, a power of two.
    """

    partitions: int = id_sets.DEFAULT_PARTITIONS

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[tuple[PartitionCount, Ids]]:
        split = partition_ids(batches, self.partitions)
        grouped = by_partition(split, None) | "Group partitions" >> beam.GroupByKey()
        merged = grouped | "Merge" >> beam.ParDo(_MergeIds())
        return typed(merged, tuple[PartitionCount, Ids])  # type: ignore[no-any-return]


class UniqueIds(beam.PTransform):  # type: ignore[misc]
    """Each id once: PCollection[Batch] -> PCollection[str]."""

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[str]:
        return (
            batches
            | DistinctIds()
            | "Unpack" >> beam.FlatMapTuple(lambda _, ids: [i.decode() for i in ids.to_list()]).with_output_types(str)
        )
