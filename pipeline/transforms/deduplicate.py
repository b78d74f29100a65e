"""The transforms that drop duplicates: by a shuffle, or in a stream by state."""

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
from pipeline.model.duplicates import KeySet, as_one, key_events, merge_events, split_events, split_hours, unseen
from pipeline.model.events import Batch
from pipeline.model.hour_ids import Place
from pipeline.model.hours import HOUR, HourClock, closing
from pipeline.transforms.ids import Pieces, by_partition

Columns = tuple[bytes, bytes, bytes]  # of a KeySet, as a runner gives them back

MOST_SETS = 16
"""How many sets of an hour's part are in state. A batch searches each; to merge them, all are sorted and written."""

_STAY = (
    -1
)  # the partition of batches without their events: sent with the events, since a Flatten would copy all of them


class _SplitEvents(ThreadedDoFn):
    def work(self, batch: Batch) -> tuple[Batch, Pieces]:
        return split_events(batch)

    def emit(self, result: tuple[Batch, Pieces]) -> Iterator[Pieces]:
        stays, pieces = result
        yield [(_STAY, pickle.dumps(stays)), *pieces]


class _MergeEvents(ThreadedDoFn):
    def __init__(self) -> None:
        super().__init__()
        self._duplicate = counter("duplicate")

    def work(self, partition: tuple[int, Iterable[SpilledValue]]) -> tuple[int, Batch]:
        number, pieces = partition
        data = read_all_spilled(pieces)
        return number, _stayed(data) if number == _STAY else merge_events(data)

    def emit(self, result: tuple[int, Batch]) -> Iterator[Batch]:
        number, batch = result
        self._duplicate.inc(batch.duplicate if number != _STAY else 0)
        yield batch


def _stayed(pickles: bytearray) -> Batch:
    stream, batches = io.BytesIO(pickles), []
    while stream.tell() < len(pickles):
        batches.append(pickle.load(stream))
    return Batch.concat(batches)


@dataclasses.dataclass
class DropDuplicates(beam.PTransform):  # type: ignore[misc]
    """Keeps one of equal events (id, event, timestamp): PCollection[Batch] -> PCollection[Batch], with ids.

    Needs batches with ids. Each record read is still in one batch's count, as an event, reject or duplicate; of the
    rejects only the first few are kept. Shuffles the different events of each batch. Windows: one in each. An
    unbounded PCollection in the global window takes DropStreamDuplicates. spill: an output's path and the
    run's token, to shuffle by temporary files beside the output (global window only), which
    the lock of the run removes.
    """

    spill: tuple[str, str] | None = None

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Batch]:
        split = typed(batches | "Partition events" >> beam.ParDo(_SplitEvents()), Pieces)
        grouped = by_partition(split, self.spill) | "Group events" >> beam.GroupByKey()
        merged = grouped | "Merge events" >> beam.ParDo(_MergeEvents())
        return typed(merged, Batch)  # type: ignore[no-any-return]


class _SplitHours(ThreadedDoFn):
    def __init__(self, clock: HourClock) -> None:
        super().__init__()
        self._clock = clock

    def work(self, batch: Batch) -> tuple[int, list[tuple[Place, KeySet]]]:
        return len(batch.codes), list(split_hours(batch, self._clock))

    def emit(self, result: tuple[int, list[tuple[Place, KeySet]]]) -> Iterator[Any]:
        came, pieces = result
        yield _dropped(came - sum(keys.size for _, keys in pieces))
        yield from pieces


def _dropped(events: int) -> beam.pvalue.TaggedOutput:
    return beam.pvalue.TaggedOutput(COUNTS, count(duplicate=events))


class _PassNew(beam.DoFn):  # type: ignore[misc]
    """Remembers the events of a place as sets, which are merged into one when there are MOST_SETS of them."""

    _SEEN = BagStateSpec("seen", TupleCoder((BytesCoder(),) * 3))
    _FORGET = TimerSpec("forget", TimeDomain.WATERMARK)

    def __init__(self, allowed_lateness: int | None) -> None:
        self._allowed = allowed_lateness

    def process(
        self,
        element: tuple[Place, Columns],
        seen: Any = beam.DoFn.StateParam(_SEEN),
        forget: Any = beam.DoFn.TimerParam(_FORGET),
    ) -> Iterator[Any]:
        (hour, _), piece = element[0], KeySet(*element[1])
        held = [KeySet(*columns) for columns in seen.read()]
        new = unseen(piece, held)
        yield _dropped(piece.size - new.size)
        if new.size:
            yield key_events(new.keys())
            if len(held) >= MOST_SETS:
                seen.clear()
                new = as_one([*held, new])
            seen.add(new)
        if self._allowed is not None and not held:
            forget.set(int(closing(hour + HOUR, self._allowed)) + 1)

    @on_timer(_FORGET)  # type: ignore[untyped-decorator]
    def forget(self, seen: Any = beam.DoFn.StateParam(_SEEN)) -> None:
        seen.clear()


@dataclasses.dataclass
class DropStreamDuplicates(beam.PTransform):  # type: ignore[misc]
    """Keeps one of equal events (id, event, timestamp): PCollection[Batch] -> new events and counts, unbounded.

    New events: PCollection[Batch], without rejects. Counts: PCollection[Counted], of duplicates.

    allowed_lateness: seconds, None: for ever. An hour's events are remembered until the watermark is allowed_lateness
    beyond its end; what is found later has to be dropped before. In state, 18 bytes and the id each, which is read once
    for each partition of an hour and batch.
    """

    clock: HourClock
    allowed_lateness: int | None = None

    def expand(self, batches: beam.PCollection[Batch]) -> Any:
        split = beam.ParDo(_SplitHours(self.clock)).with_outputs(COUNTS, main="events")
        events = batches | "Events by hour" >> split
        events.events.element_type = convert_to_beam_type(tuple[Place, Columns])
        remember = beam.ParDo(_PassNew(self.allowed_lateness)).with_outputs(COUNTS, main="new")
        new = events.events | "New events" >> remember
        new.new.element_type = Batch
        events[COUNTS].element_type = new[COUNTS].element_type = convert_to_beam_type(Counted)
        return new.new, (events[COUNTS], new[COUNTS])
