"""The graph of a stream: that of a batch, in hourly windows.

watch files -> read blocks -> decode -> +-> count by hour and event -> sum -> total -> write the hour's report
or messages -> group ----------^        +-> ids by hour -> union -> total -> write the hour's ids
                                        +-> rejects and late events -> write
With allowed lateness, the final number of an hour's events goes to its totals (totals.py).

A PCollection read by a stateful step has no other consumer: Beam names the Flink operators of two such stages by the
order of a set, so a savepoint could be restored to the wrong one.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow, GlobalWindows
from apache_beam.utils.timestamp import MAX_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.engine.coders import typed
from pipeline.engine.metrics import COUNTS, Counted, KeepCounters
from pipeline.engine.threads import ThreadedDoFn
from pipeline.formats.decoding import AnyBlock
from pipeline.model.events import Batch
from pipeline.model.hours import HourClock
from pipeline.model.ids import HourShard, event_count, ids_by_hour, union
from pipeline.stream.decode import EARLIER_COUNTS, EARLIER_IDS, DecodeStream, EarlierRuns
from pipeline.stream.hour_files import WriteRejects
from pipeline.stream.job import StreamJob
from pipeline.stream.topics import ReadTopic
from pipeline.stream.totals import CLOSED, CountEventsPerHour, EmitFinalCounts, Part, WriteIds, WriteReport
from pipeline.stream.watch import WatchFiles
from pipeline.transforms.count import CountHours
from pipeline.transforms.decode import REJECTS
from pipeline.transforms.deduplicate import DropStreamDuplicates
from pipeline.transforms.read import GroupFiles, ReadBlocks
from pipeline.transforms.windows import hour_windows

_FLUSH_BYTES = 64 * 1024 * 1024  # of a bundle's ids

_EVENT_COUNTS = "event counts"


class _IdsByHour(ThreadedDoFn):
    """Merges the ids of a bundle, which may have hundreds of small files: Batch -> tuple[HourShard, bytes].

    _EVENT_COUNTS: tuple[HourShard, int], at the earliest timestamp of the bundle, so that they are not late.
    """

    def __init__(self, clock: HourClock, parts: int) -> None:
        super().__init__()
        self._clock, self._parts = clock, parts

    def start_bundle(self) -> None:
        super().start_bundle()
        self._since = MAX_TIMESTAMP
        self._clear()

    def process(
        self, batch: Batch, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        self._since = min(self._since, timestamp)
        yield from super().process(batch, timestamp, window)

    def _clear(self) -> None:
        self._sets: dict[HourShard, list[bytes]] = {}
        self._size = 0

    def work(self, batch: Batch) -> list[tuple[HourShard, bytes]]:
        return list(ids_by_hour(batch, self._clock, self._parts))

    def emit(self, shards: list[tuple[HourShard, bytes]]) -> Iterator[Any]:
        for shard, packed in shards:
            self._sets.setdefault(shard, []).append(packed)
            self._size += len(packed)
        if self._size > _FLUSH_BYTES:
            yield from self._merged()

    def finish_bundle(self) -> Iterator[Any]:
        yield from super().finish_bundle()
        yield from self._merged()

    def _merged(self) -> Iterator[Any]:
        by_shard, in_global = self._sets, (GlobalWindow(),)
        self._clear()
        for shard, sets in by_shard.items():
            merged = union(sets)
            yield WindowedValue((shard, merged), shard[0], in_global)
            number = WindowedValue((shard, event_count(merged)), self._since, in_global)
            yield beam.pvalue.TaggedOutput(_EVENT_COUNTS, number)


@dataclasses.dataclass
class HourlyStream(beam.PTransform):  # type: ignore[misc]
    """Writes reports, ids and rejects: PCollection[AnyBlock] -> nothing."""

    job: StreamJob

    def expand(self, blocks: beam.PCollection[AnyBlock]) -> Any:
        job, clock = self.job, self.job.report.clock
        want_ids = bool(job.ids_output or job.rejects_output) or job.report.deduplicate
        decoded = blocks | "Decode" >> DecodeStream(job, want_ids)
        _ = decoded[REJECTS] | "Write rejects" >> WriteRejects(job)
        batches, counted = decoded.batches, [decoded[COUNTS]]
        earlier = blocks.pipeline | "Earlier runs" >> EarlierRuns(job) if job.ledger else None
        if earlier:
            counted.append(earlier[COUNTS])
        if job.report.deduplicate:
            batches = flatten_optional([batches, earlier and earlier["batches"]], "earlier")
            drop = DropStreamDuplicates(clock, job.allowed_lateness_seconds)
            batches, dropped = batches | "Drop duplicates" >> drop
            counted, earlier = [*counted, *dropped], None
        ids = batches | "Unique ids" >> UniqueIds(job, earlier and earlier[EARLIER_IDS]) if job.ids_output else None
        reports = batches | "Reports" >> HourlyReports(job, earlier and earlier[EARLIER_COUNTS], ids)
        return [*counted, reports] | "All counts" >> beam.Flatten() | "Counters" >> KeepCounters()


def _windows(job: StreamJob) -> beam.WindowInto:
    return hour_windows(job.report.clock, job.early_firing_seconds, job.late_at_once)


def flatten_optional(parts: list[beam.PCollection[Any] | None], label: str) -> beam.PCollection[Any]:
    """Flattens PCollections of one type, ignoring None."""
    present = [part for part in parts if part is not None]
    if len(present) == 1:
        return present[0]
    return typed(present | f"With {label}" >> beam.Flatten(), present[0].element_type)


def _to_parts(pairs: Any, label: str, key: Any, to_part: Callable[[Any], Part]) -> Any:
    """PCollection[tuple[K, T]] or None -> PCollection[tuple[K, Part]] in the global window, or None; key: K.

    Prism drops the state of other windows at their end, whatever lateness they have.
    """
    if pairs is None:
        return None
    in_global = pairs | f"{label}, no window" >> beam.WindowInto(GlobalWindows())
    to_parts = beam.MapTuple(lambda key, value: (key, to_part(value)))
    return in_global | label >> to_parts.with_output_types(tuple[key, Part])


def _total_parts(
    panes: Any, key: Any, event_counts: Any, earlier: Any, size: Callable[[Any], int], allowed: int | None
) -> Any:
    """Collects the Parts of totals: PCollection[tuple[K, T]] -> PCollection[tuple[K, Part]].

    Args:
      panes: PCollection[tuple[K, T]].
      key: K.
      event_counts: PCollection[tuple[K, int]] of found events.
      earlier: PCollection[tuple[K, T]] of earlier runs, or None.
      size: the number of events of a T.
      allowed: allowed lateness in seconds; None: hours stay open.
    """
    last = None
    if allowed is not None:
        with_size = beam.MapTuple(lambda key, value: (key, size(value))).with_output_types(tuple[key, int])
        sizes = earlier and earlier | "Earlier sizes" >> with_size
        numbers = flatten_optional([event_counts, sizes], "earlier sizes")
        last = typed(numbers | "Close" >> beam.ParDo(EmitFinalCounts(allowed)), tuple[key, int])
    parts = [
        _to_parts(panes, "New", key, lambda pane: (pane, 0, 0)),
        _to_parts(earlier, "Earlier", key, lambda pane: (pane, 0, 0)),
        _to_parts(last, "Last", key, lambda number: (None, number, 0)),
    ]
    return flatten_optional(parts, "parts")


@dataclasses.dataclass
class HourlyReports(beam.PTransform):  # type: ignore[misc]
    """Writes a report for each hour: PCollection[Batch] -> PCollection[Counted], the events in reports.

    Attributes:
      earlier: PCollection[tuple[int, HourCounts]] of earlier runs, or None.
      ids: the output of UniqueIds, or None.
    """

    job: StreamJob
    earlier: Any
    ids: Any

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Counted]:
        job, clock = self.job, self.job.report.clock
        panes = batches | "Count" >> CountHours(clock, windows=_windows(job))
        numbers = None
        if job.allowed_lateness_seconds is not None:
            count = beam.ParDo(CountEventsPerHour(clock)).with_output_types(tuple[int, int])
            numbers = batches | "Event counts" >> count
        parts = _total_parts(panes, int, numbers, self.earlier, sum, job.allowed_lateness_seconds)
        if job.allowed_lateness_seconds is not None:
            ids = _to_parts(self.ids, "Ids", int, lambda number: (None, 0, number))
            parts = flatten_optional([parts, ids], "ids")
        written = parts | "Write" >> beam.ParDo(WriteReport(job)).with_outputs(COUNTS)
        return typed(written[COUNTS], Counted)


@dataclasses.dataclass
class UniqueIds(beam.PTransform):  # type: ignore[misc]
    """Writes the unique ids of each hour: PCollection[Batch] -> PCollection[tuple[int, int]].

    Emits hours, with the number of their events whose ids are final. earlier: PCollection[tuple[HourShard, bytes]] of
    earlier runs, or None.
    """

    job: StreamJob
    earlier: Any

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[tuple[int, int]]:
        job, kind = self.job, tuple[HourShard, bytes]
        split = beam.ParDo(_IdsByHour(job.report.clock, job.id_parts)).with_outputs(_EVENT_COUNTS, main="ids")
        found = batches | "Ids by hour" >> split
        ids, event_counts = typed(found.ids, kind), typed(found[_EVENT_COUNTS], tuple[HourShard, int])
        merge = beam.CombinePerKey(union).with_output_types(kind)
        panes = ids | "Hours" >> _windows(job) | "Union" >> merge
        parts = _total_parts(panes, HourShard, event_counts, self.earlier, event_count, job.allowed_lateness_seconds)
        written = parts | "Write" >> beam.ParDo(WriteIds(job)).with_outputs(CLOSED)
        return typed(written[CLOSED], tuple[int, int])


@dataclasses.dataclass
class ReadStream(beam.PTransform):  # type: ignore[misc]
    """The job's source: Pipeline -> PCollection[AnyBlock], unbounded."""

    job: StreamJob

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[AnyBlock]:
        job = self.job
        if job.subscription:
            topic = ReadTopic(job.subscription, job.timestamp_attribute, job.id_attribute, job.late_at_once)
            return pipeline | "Topic" >> topic
        files = pipeline | "Files" >> WatchFiles(job)
        return files | "Group" >> GroupFiles() | "Read" >> ReadBlocks(keep_broken=True)
