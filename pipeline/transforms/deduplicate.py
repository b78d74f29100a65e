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
from pipeline.engine.spill import SpilledValue, read_all_spilled
from pipeline.engine.threads import ThreadedDoFn
from pipeline.model.duplicates import (
    KeySet,
    key_events,
    merge_disjoint,
    merge_events,
    split_events,
    split_keys_by_hour,
    unseen,
)
from pipeline.model.events import Batch
from pipeline.model.hour_ids import HourShard
from pipeline.model.hours import HOUR, HourClock, closing_time
from pipeline.transforms.ids import PackedPartitions, by_partition

Columns = tuple[bytes, bytes, bytes]  # a KeySet after it was encoded and decoded

MAX_SETS = 16
"""Maximum number of sets in the state of a shard. Each batch searches all; merging sorts and rewrites all."""

_REMAINDER = -1  # the partition of batches without their events; a Flatten instead would copy all events


class _SplitEvents(ThreadedDoFn):
    def work(self, batch: Batch) -> tuple[Batch, PackedPartitions]:
        return split_events(batch)

    def emit(self, result: tuple[Batch, PackedPartitions]) -> Iterator[PackedPartitions]:
        remainder, partitions = result
        yield [(_REMAINDER, pickle.dumps(remainder)), *partitions]


class _MergeEvents(ThreadedDoFn):
    def __init__(self) -> None:
        super().__init__()
        self._duplicate = counter("duplicate")

    def work(self, partition: tuple[int, Iterable[SpilledValue]]) -> tuple[int, Batch]:
        number, packed = partition
        data = read_all_spilled(packed)
        return number, _unpickled(data) if number == _REMAINDER else merge_events(data)

    def emit(self, result: tuple[int, Batch]) -> Iterator[Batch]:
        number, batch = result
        self._duplicate.inc(batch.duplicate if number != _REMAINDER else 0)
        yield batch


def _unpickled(pickles: bytearray) -> Batch:
    stream, batches = io.BytesIO(pickles), []
    while stream.tell() < len(pickles):
        batches.append(pickle.load(stream))
    return Batch.concat(batches)


@dataclasses.dataclass
class DropDuplicates(beam.PTransform):  # type: ignore[misc]
    """Keeps one of equal events (id, event, timestamp): PCollection[Batch] -> PCollection[Batch], with ids.

    Shuffles the distinct events of each batch, and deduplicates within each window. Each record is still counted once,
    as an event, reject or duplicate; only the first few rejects are kept. For an unbounded PCollection in the global
    window use DropStreamDuplicates.

    Args:
      spill: an output's path and the run's token, to shuffle through temporary files beside the output (global window
        only), which are removed with the lock of the run.
    """

    spill: tuple[str, str] | None = None

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Batch]:
        split = typed(batches | "Partition events" >> beam.ParDo(_SplitEvents()), PackedPartitions)
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
        yield _dropped(events - sum(keys.size for _, keys in sets))
        yield from sets


def _dropped(events: int) -> beam.pvalue.TaggedOutput:
    return beam.pvalue.TaggedOutput(COUNTS, count(duplicate=events))


class _PassNew(beam.DoFn):  # type: ignore[misc]
    """Keeps the events of a shard in state, as sets, which are merged when there are MAX_SETS of them."""

    _SEEN = BagStateSpec("seen", TupleCoder((BytesCoder(),) * 3))
    _FORGET = TimerSpec("forget", TimeDomain.WATERMARK)

    def __init__(self, allowed_lateness: int | None) -> None:
        self._allowed_lateness = allowed_lateness

    def process(
        self,
        element: tuple[HourShard, Columns],
        seen: Any = beam.DoFn.StateParam(_SEEN),
        forget: Any = beam.DoFn.TimerParam(_FORGET),
    ) -> Iterator[Any]:
        (hour, _), keys = element[0], KeySet(*element[1])
        sets = [KeySet(*columns) for columns in seen.read()]
        new = unseen(keys, sets)
        yield _dropped(keys.size - new.size)
        if new.size:
            yield key_events(new.keys())
            if len(sets) >= MAX_SETS:
                seen.clear()
                new = merge_disjoint([*sets, new])
            seen.add(new)
        if self._allowed_lateness is not None and not sets:
            forget.set(int(closing_time(hour + HOUR, self._allowed_lateness)) + 1)

    @on_timer(_FORGET)  # type: ignore[untyped-decorator]
    def forget(self, seen: Any = beam.DoFn.StateParam(_SEEN)) -> None:
        seen.clear()


@dataclasses.dataclass
class DropStreamDuplicates(beam.PTransform):  # type: ignore[misc]
    """Keeps one of equal events (id, event, timestamp): PCollection[Batch] -> new events and counts, unbounded.

    New events: PCollection[Batch], without rejects. Counts: PCollection[Counted], of duplicates.

    State: 18 bytes and the id of each event, read once for each shard of an hour and batch.

    Args:
      clock: assigns timestamps to hours.
      allowed_lateness: in seconds; an hour's state is released when the watermark passes its end by so much, and later
        events must be dropped upstream. None: kept forever.
    """

    clock: HourClock
    allowed_lateness: int | None = None

    def expand(self, batches: beam.PCollection[Batch]) -> Any:
        split = beam.ParDo(_SplitHours(self.clock)).with_outputs(COUNTS, main="events")
        events = batches | "Events by hour" >> split
        events.events.element_type = convert_to_beam_type(tuple[HourShard, Columns])
        remember = beam.ParDo(_PassNew(self.allowed_lateness)).with_outputs(COUNTS, main="new")
        new = events.events | "New events" >> remember
        new.new.element_type = Batch
        events[COUNTS].element_type = new[COUNTS].element_type = convert_to_beam_type(Counted)
        return new.new, (events[COUNTS], new[COUNTS])
