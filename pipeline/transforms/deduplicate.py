"""Transforms that drop duplicates: by a shuffle in batch, by state in a stream."""

import dataclasses
import io
import pickle
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.coders import BytesCoder, TupleCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, TimerSpec, on_timer
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from pipeline.engine.coders import typed
from pipeline.engine.metrics import COUNTS, Counted, count, counter
from pipeline.engine.spill import SpilledValue, read_each_spilled
from pipeline.engine.threads import ThreadedDoFn
from pipeline.model.duplicates import (
    KeySet,
    decode_keys,
    merge_disjoint,
    merge_events,
    partition_events,
    split_keys_by_hour,
    unseen,
)
from pipeline.model.events import Batch
from pipeline.model.hours import HOUR, HourClock, closing_time
from pipeline.model.ids import HourShard
from pipeline.transforms.ids import PackedPartitions, by_partition

KeyColumns = tuple[bytes, bytes, bytes]  # a KeySet after it was encoded and decoded

MAX_SETS = 16
"""Maximum number of sets in the state of a shard. Each batch searches all; merging sorts and rewrites all."""

_REMAINDER = -1  # the partition of batches without their events; a Flatten instead would copy all events


class _PartitionEvents(ThreadedDoFn):
    def work(self, batch: Batch) -> tuple[Batch, PackedPartitions]:
        return partition_events(batch)

    def emit(self, result: tuple[Batch, PackedPartitions]) -> Iterator[PackedPartitions]:
        remainder, partitions = result
        yield [(_REMAINDER, pickle.dumps(remainder)), *partitions]


class _MergeEvents(ThreadedDoFn):
    def __init__(self) -> None:
        super().__init__()
        self._duplicate = counter("duplicate")

    def work(self, partition: tuple[int, Iterable[SpilledValue]]) -> tuple[int, Batch]:
        number, packed = partition
        data = read_each_spilled(packed)
        return number, _unpickled(b"".join(data)) if number == _REMAINDER else merge_events(*data)

    def emit(self, result: tuple[int, Batch]) -> Iterator[Batch]:
        number, batch = result
        self._duplicate.inc(batch.duplicate if number != _REMAINDER else 0)
        yield batch


def _unpickled(pickles: bytes) -> Batch:
    stream, batches = io.BytesIO(pickles), []
    while stream.tell() < len(pickles):
        batches.append(pickle.load(stream))
    return Batch.concat(batches)


@dataclasses.dataclass
class DropDuplicates(beam.PTransform):  # type: ignore[misc]
    """Keeps one of the events that are equal in id, event and timestamp: PCollection[Batch] -> the same, with ids.

    Shuffles the distinct events of each batch, and deduplicates within each window. Each record is still counted once,
    as an event, reject or duplicate; only the first few rejects are kept. For an unbounded PCollection in the global
    window use DropStreamDuplicates.

    Args:
      spill: (path of an output, token of the run): shuffle through temporary files beside that output, which the run
        removes when it ends. Global window only. None: shuffle through the runner.
    """

    spill: tuple[str, str] | None = None

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Batch]:
        split = typed(batches | "Partition events" >> beam.ParDo(_PartitionEvents()), PackedPartitions)
        grouped = by_partition(split, self.spill) | "Group events" >> beam.GroupByKey()
        merged = grouped | "Merge events" >> beam.ParDo(_MergeEvents())
        return typed(merged, Batch)  # type: ignore[no-any-return]


class _SplitHours(ThreadedDoFn):
    def __init__(self, clock: HourClock) -> None:
        super().__init__()
        self._clock = clock

    def work(self, batch: Batch) -> tuple[int, list[tuple[HourShard, KeySet]]]:
        return len(batch.codes), list(split_keys_by_hour(batch, self._clock))

    def emit(self, result: tuple[int, list[tuple[HourShard, KeySet]]]) -> Iterator[Any]:
        events, sets = result
        yield _duplicate_count(events - sum(keys.size for _, keys in sets))
        yield from sets


def _duplicate_count(events: int) -> beam.pvalue.TaggedOutput:
    return beam.pvalue.TaggedOutput(COUNTS, count(duplicate=events))


class _DropSeen(beam.DoFn):  # type: ignore[misc]
    """Emits the unseen events of an hour shard. Keeps their keys in state, as sets that are merged at MAX_SETS."""

    _SEEN = BagStateSpec("seen", TupleCoder((BytesCoder(),) * 3))
    _EXPIRY = TimerSpec("forget", TimeDomain.WATERMARK)

    def __init__(self, allowed_lateness: int | None) -> None:
        self._allowed_lateness = allowed_lateness

    def process(
        self,
        element: tuple[HourShard, KeyColumns],
        seen: Any = beam.DoFn.StateParam(_SEEN),
        expiry: Any = beam.DoFn.TimerParam(_EXPIRY),
    ) -> Iterator[Any]:
        (hour, _), keys = element[0], KeySet(*element[1])
        sets = [KeySet(*columns) for columns in seen.read()]
        new = unseen(keys, sets)
        yield _duplicate_count(keys.size - new.size)
        if new.size:
            yield decode_keys(new.keys())
            if len(sets) >= MAX_SETS:
                seen.clear()
                new = merge_disjoint([*sets, new])
            seen.add(new)
        if self._allowed_lateness is not None and not sets:
            expiry.set(int(closing_time(hour + HOUR, self._allowed_lateness)) + 1)

    @on_timer(_EXPIRY)  # type: ignore[untyped-decorator]
    def expire(self, seen: Any = beam.DoFn.StateParam(_SEEN)) -> None:
        seen.clear()


@dataclasses.dataclass
class DropStreamDuplicates(beam.PTransform):  # type: ignore[misc]
    """Keeps one of the events that are equal in id, event and timestamp, unbounded: PCollection[Batch] -> two outputs.

    New events: PCollection[Batch], without rejects. Counts: PCollection[Counted], of duplicates.

    State holds 18 bytes plus the id per event. Each batch reads the state of every hour shard in which it has events.

    Args:
      clock: assigns timestamps to hours.
      allowed_lateness: seconds after the end of an hour at which its state is released; later events must be dropped
        upstream. None: state is kept forever.
    """

    clock: HourClock
    allowed_lateness: int | None = None

    def expand(self, batches: beam.PCollection[Batch]) -> Any:
        split = beam.ParDo(_SplitHours(self.clock)).with_outputs(COUNTS, main="events")
        events = batches | "Events by hour" >> split
        events.events.element_type = convert_to_beam_type(tuple[HourShard, KeyColumns])
        drop_seen = beam.ParDo(_DropSeen(self.allowed_lateness)).with_outputs(COUNTS, main="new")
        new = events.events | "New events" >> drop_seen
        new.new.element_type = Batch
        events[COUNTS].element_type = new[COUNTS].element_type = convert_to_beam_type(Counted)
        return new.new, (events[COUNTS], new[COUNTS])
