"""Sums and running totals of hours. Totals write the files of an hour, and finalize it once no event can change it.

An hour is final when its totals contain as many events as were decoded, and its ids are final. The watermark alone does
not prove that, since late panes wait for their next firing while it advances. So each bundle also sends its numbers of
events, under the file-discovery watermark; their sum is emitted once the watermark passes the end of the hour plus the
allowed lateness.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.coders import FastPrimitivesCoder, VarIntCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.utils.timestamp import MAX_TIMESTAMP

from pipeline.engine.metrics import COUNTS, Counted, count
from pipeline.engine.prism import SinkDoFn
from pipeline.engine.run_state import run_state, steady_time
from pipeline.engine.spill import in_global_window
from pipeline.engine.threads import ThreadedDoFn
from pipeline.model.hours import HOUR, closing_time
from pipeline.model.ids import HourShard, event_count, id_lines, ids_by_hour, merge_packed, union
from pipeline.model.table import (
    HourCounts,
    add_counts,
    count_batch,
    csv_text,
    pivot,
    scale_impressions,
    split_hours,
)
from pipeline.storage.files import is_local
from pipeline.storage.outputs import atomic_file
from pipeline.stream import StreamJob
from pipeline.stream.ledger import Contribution, ledger_of

HOUR_COUNTS, HOUR_EVENTS = "counts of hours", "events of hours"
IDS, ID_EVENTS = "ids of hours", "events of ids"
"""Tags of outputs: sums of a bundle, and their numbers of events."""

_FLUSH_BYTES = 64 * 1024 * 1024  # commit and emit sets and rejects of this size before the bundle ends

FINAL_IDS = "final ids"
"""Tag of an output of WriteIds: tuple[int, Addition] for the report of the hour."""

Addition = tuple[Any, int, int]
"""What is added to a total: a pane or None; the number of the key's events, once none can follow; the number of events
whose ids are final.
"""


class SumHours(ThreadedDoFn):
    """Sums the events of a bundle, which may have hundreds of small files, by hour: Batch -> outputs of hour_sums."""

    def __init__(self, job: StreamJob) -> None:
        super().__init__()
        self._job, self._clock = job, job.report.clock

    def start_bundle(self) -> None:
        super().start_bundle()
        self._new, self._since = Contribution(), MAX_TIMESTAMP

    def process(
        self, element: Any, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        self._since = min(self._since, timestamp)
        yield from super().process(element, timestamp, window)

    def work(self, batch: Any) -> Any:
        counts = dict(split_hours(count_batch(batch, self._clock), self._clock))
        ids = ids_by_hour(batch, self._clock, self._job.id_shards) if self._job.ids_output else ()
        return Contribution(counts=counts, sets={shard: [packed] for shard, packed in ids})

    def emit(self, new: Any) -> Iterator[Any]:
        self._new.add(new)
        if self._new.nbytes > _FLUSH_BYTES:
            yield from self._flush()

    def finish_bundle(self) -> Iterator[Any]:
        yield from super().finish_bundle()
        yield from self._flush()

    def _flush(self) -> Iterator[Any]:
        new, self._new = self._new, Contribution()
        yield from hour_sums(new, self._since)


def hour_sums(new: Contribution, since: Any) -> Iterator[beam.pvalue.TaggedOutput]:
    """Yields the sums of hours.

    HOUR_COUNTS and IDS have the timestamp of their hour. HOUR_EVENTS and ID_EVENTS, which contain their numbers of
    events, have that of `since`, the earliest of a bundle, so that they are not late.
    """
    for hour, row in new.counts.items():
        yield _in_global(HOUR_COUNTS, (hour, row), hour)
        yield _in_global(HOUR_EVENTS, (hour, sum(row)), since)
    for shard, sets in new.sets.items():
        packed = union(sets)
        yield _in_global(IDS, (shard, packed), shard[0])
        yield _in_global(ID_EVENTS, (shard, event_count(packed)), since)


def _in_global(tag: str, value: Any, timestamp: Any) -> beam.pvalue.TaggedOutput:
    return beam.pvalue.TaggedOutput(tag, in_global_window(value, timestamp))


class EmitCountsAtClose(beam.DoFn):  # type: ignore[misc]
    """Sums the event counts of each key until its hour closes: tuple[K, int] -> tuple[K, Addition], global window.

    A key is, or begins with, the start of an hour. Emits the sum of a key when the watermark passes the closing of its
    hour; nothing for hours that are open when the stream stops. Input must not be late.

    Args:
      allowed_lateness: seconds from the end of an hour to its closing.
    """

    _COUNT = ReadModifyWriteStateSpec("count", VarIntCoder())
    _CLOSING = TimerSpec("closing", TimeDomain.WATERMARK)

    def __init__(self, allowed_lateness: int) -> None:
        self._allowed_lateness = allowed_lateness

    def process(
        self,
        element: tuple[Any, int],
        total: Any = beam.DoFn.StateParam(_COUNT),
        timer: Any = beam.DoFn.TimerParam(_CLOSING),
    ) -> None:
        key, number = element
        before = total.read()
        total.write((before or 0) + number)
        if before is None:  # once: Prism keeps every timestamp that a timer was set to until it fires
            timer.set(self._closing_time(key) + 1)

    @on_timer(_CLOSING)  # type: ignore[untyped-decorator]
    def close(self, key: Any = beam.DoFn.KeyParam, total: Any = beam.DoFn.StateParam(_COUNT)) -> Iterator[Any]:
        number = total.read()
        # drained: the watermark jumped to infinity while the hour was open
        is_draining = run_state.stopping.is_set() or steady_time() < self._closing_time(key)
        if number and not is_draining:
            total.clear()
            yield key, (None, number, 0)

    def _closing_time(self, key: Any) -> int:
        hour = key if isinstance(key, int) else key[0]
        return int(closing_time(hour + HOUR, self._allowed_lateness))


def hour_name(label: str) -> str:
    """Returns the file name of an hour without suffix: "2021-04-02T20:00:00+01:00" -> "2021-04-02T20+0100"."""
    date, time = label.split("T")
    return f"{date}T{time[:2]}{time[8:].replace(':', '')}"


def write_file(folder: str, name: str, token: str, data: bytes) -> str:
    """Writes a file and returns its path; creates a local folder again if it was removed meanwhile."""
    if is_local(folder):
        os.makedirs(folder, exist_ok=True)
    path = f"{folder.rstrip('/')}/{name}"
    with atomic_file(path, token) as stream:
        stream.write(data)
    return path


class _WriteTotal(SinkDoFn):
    """Sums the Additions of a key, and replaces its file with each new total: tuple[K, Addition] -> tagged outputs.

    Attributes:
      merge: adds up panes.
      count_events: returns the number of events of a pane or total.
      tag, kind: of the outputs.
    """

    _TOTAL = ReadModifyWriteStateSpec("total", FastPrimitivesCoder())  # an Addition

    merge: Callable[[list[Any]], Any]
    count_events: Callable[[Any], int]
    tag: str
    kind: Any

    def __init__(self, job: StreamJob) -> None:
        self._job, self._clock = job, job.report.clock

    def process(self, element: tuple[Any, Addition], total: Any = beam.DoFn.StateParam(_TOTAL)) -> Iterator[Any]:
        key, (pane, events, final_ids) = element
        if not events and not final_ids and not self.count_events(pane):  # the last pane of a window may be empty
            return
        content, events_before, ids_before = total.read() or (None, 0, 0)
        if pane is not None:
            content = pane if content is None else self.merge([content, pane])
            if self.count_events(content) >= self._events_in_existing_file(key):
                self.write(key, content)
            yield from self.outputs(pane)
        now = content, events_before + events, ids_before + final_ids
        if content is not None and self.is_final(now):
            yield from self.finish(key, content)
            total.clear()
        else:
            total.write(now)

    def is_final(self, total: Addition) -> bool:
        """Returns whether no event can change a total."""
        return self.count_events(total[0]) == total[1]

    def _events_in_existing_file(self, key: Any) -> int:
        """Events in the file of earlier runs, which stays until they have all been added to the total again."""
        hour, shards = (key, 1) if isinstance(key, int) else (key[0], self._job.id_shards)
        if not self._job.ledger or shards > 1:
            return 0
        return sum(ledger_of(self._job.output).earlier_counts.get(hour, ()))

    def write(self, key: Any, content: Any) -> None:
        raise NotImplementedError

    def outputs(self, pane: Any) -> Iterator[Any]:
        yield from ()

    def finish(self, key: Any, content: Any) -> Iterator[Any]:
        """Yields the outputs of a final total."""
        raise NotImplementedError

    def put(self, folder: str, name: str, data: bytes, events: int) -> None:
        """Writes a file. events: number of events in it."""
        run_state.written[write_file(folder, name, self._job.token, data)] = events


class WriteReport(_WriteTotal):
    """Writes reports: tuple[int, Addition of HourCounts] -> Counted, under the tag COUNTS."""

    merge, count_events = staticmethod(add_counts), staticmethod(sum)
    tag, kind = COUNTS, Counted

    def is_final(self, total: Addition) -> bool:
        return super().is_final(total) and (not self._job.ids_output or total[1] == total[2])

    def write(self, key: int, content: HourCounts) -> None:
        if self._job.ledger and self._job.report.deduplicate:
            ledger_of(self._job.output).record_report(key, content)
        table = scale_impressions(pivot([(key, content)], self._clock), self._job.report.impressions_factor)
        self.put(self._job.output, f"{self._name(key)}.csv", csv_text(table).encode(), sum(content))

    def outputs(self, pane: HourCounts) -> Iterator[Any]:
        yield beam.pvalue.TaggedOutput(COUNTS, count(counted=sum(pane)))

    def finish(self, key: int, content: HourCounts) -> Iterator[Any]:
        if self._job.ledger:
            ledger_of(self._job.output).record_report(key, content, is_final=True)
        write_file(self._job.output, f"{self._name(key)}.final", self._job.token, b"")
        yield from ()

    def _name(self, hour: int) -> str:
        return hour_name(self._clock.label(hour))


class WriteIds(_WriteTotal):
    """Writes the ids of hours: tuple[HourShard, Addition of packed ids] -> tuple[int, Addition], tag FINAL_IDS."""

    merge, count_events = staticmethod(union), staticmethod(event_count)
    tag, kind = FINAL_IDS, tuple[int, Addition]

    def write(self, key: HourShard, content: bytes) -> None:
        ids, events = merge_packed(content)
        self.put(self._job.ids_output or "", self._name(*key), id_lines(ids), events)

    def finish(self, key: HourShard, content: bytes) -> Iterator[Any]:
        yield beam.pvalue.TaggedOutput(FINAL_IDS, (key[0], (None, 0, event_count(content))))

    def _name(self, hour: int, shard: int) -> str:
        shards = self._job.id_shards
        which = f"-{shard:0{len(str(shards))}}-of-{shards}" if shards > 1 else ""
        return f"{hour_name(self._clock.label(hour))}{which}.txt"
