"""The report of a stream: the graph of report.py in hourly windows.

watch files -> read blocks -> decode -> +-> count by hour and event -> sum -> pivot -> scale -> write the hour's report
or messages -> group ----------^        +-> ids by hour -> union -> write the hour's ids
                                        +-> rejects and late events -> write
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.coders import FastPrimitivesCoder
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, AfterProcessingTime, AfterWatermark
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec
from apache_beam.transforms.window import FixedWindows, GlobalWindow, GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.engine.metrics import COUNTS, Counted, KeepCounters, count
from pipeline.engine.threads import ThreadedDoFn
from pipeline.formats.decoding import AnyBlock
from pipeline.model.events import Batch, Reject
from pipeline.model.hour_ids import Place, ids_by_hour, union
from pipeline.model.hours import HOUR, HourClock
from pipeline.model.ids import id_lines, merge_pieces
from pipeline.model.table import (
    HourCounts,
    Table,
    add_counts,
    count_table,
    csv_text,
)
from pipeline.storage.files import is_local
from pipeline.stream.decode import DecodeStream, LogRejects
from pipeline.stream.hour_files import Version, WriteHours, WriteLines, hour_name
from pipeline.stream.job import StreamJob
from pipeline.stream.resume import HOURS, IDS, EarlierRuns
from pipeline.stream.topics import ReadTopic
from pipeline.stream.watch import POLL_SECONDS, REMOTE_POLL_SECONDS, WatchFiles
from pipeline.transforms.count import CountHours, HourTables, ScaleImpressions
from pipeline.transforms.decode import REJECTS
from pipeline.transforms.deduplicate import DropStreamDuplicates
from pipeline.transforms.format import FormatRejects
from pipeline.transforms.read import ReadBlocks

_HELD_BYTES = 64 * 1024 * 1024  # of ids, by a bundle
_FOREVER = 100_000 * 366 * 86400  # seconds of allowed lateness; Beam has no word for ever, its time ends in 294247


def hour_windows(clock: HourClock, early_firing_seconds: int, late_at_once: bool = False) -> beam.WindowInto:
    """Hours of event time that are reported early, when the watermark passes their end, and as often as that later on.

    Late events come for weeks and in any number of files: with a pane for each, a report would be written again and
    again. Panes hold what is new, RunningTotals adds them up: of windows that accumulate, Prism keeps each element for
    ever and works on all of them in each pane. Nothing is too late for a window: what is too late for the job was
    sorted out before, since a runner would drop it without a word.
    """
    late = AfterCount(1) if late_at_once else AfterProcessingTime(early_firing_seconds)
    return beam.WindowInto(
        FixedWindows(HOUR, offset=-clock.phase % HOUR),
        trigger=AfterWatermark(early=AfterProcessingTime(early_firing_seconds), late=late),
        accumulation_mode=AccumulationMode.DISCARDING,
        allowed_lateness=_FOREVER,
    )


def without_windows() -> beam.WindowInto:
    """For the panes of hours, before state: Prism drops the state of a window at its end, whatever lateness it has."""
    return beam.WindowInto(GlobalWindows())


class _AddToTotal(beam.DoFn):  # type: ignore[misc]
    _TOTAL = ReadModifyWriteStateSpec("total", FastPrimitivesCoder())

    def __init__(self, add: Callable[[list[Any]], Any]) -> None:
        self._add = add

    def process(self, pane: tuple[Any, Any], total: Any = beam.DoFn.StateParam(_TOTAL)) -> Iterator[tuple[Any, Any]]:
        key, new = pane
        before = total.read()
        now = new if before is None else self._add([before, new])
        total.write(now)
        yield key, now


@dataclasses.dataclass
class RunningTotals(beam.PTransform):  # type: ignore[misc]
    """The sum of a key's panes so far, with each pane: PCollection[tuple[K, T]] -> PCollection[tuple[K, T]].

    add: what adds up values of T; the order of panes does not matter. They are to be in the global window.
    """

    add: Callable[[list[Any]], Any]

    def expand(self, panes: beam.PCollection[tuple[Any, Any]]) -> beam.PCollection[tuple[Any, Any]]:
        totals = panes | "Add" >> beam.ParDo(_AddToTotal(self.add))
        totals.element_type = panes.element_type
        return totals


class _IdsByHour(ThreadedDoFn):
    """Ids of a bundle, united: a bundle may be hundreds of small files."""

    def __init__(self, clock: HourClock, parts: int) -> None:
        super().__init__()
        self._clock, self._parts = clock, parts

    def start_bundle(self) -> None:
        super().start_bundle()
        self._clear()

    def _clear(self) -> None:
        self._held: dict[Place, list[bytes]] = {}
        self._size = 0

    def work(self, batch: Batch) -> list[tuple[Place, bytes]]:
        return list(ids_by_hour(batch, self._clock, self._parts))

    def emit(self, places: list[tuple[Place, bytes]]) -> Iterator[WindowedValue]:
        for place, packed in places:
            self._held.setdefault(place, []).append(packed)
            self._size += len(packed)
        if self._size > _HELD_BYTES:
            yield from self._united()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        yield from super().finish_bundle()
        yield from self._united()

    def _united(self) -> Iterator[WindowedValue]:
        held = self._held
        self._clear()
        for place, pieces in held.items():
            yield WindowedValue((place, union(pieces)), place[0], (GlobalWindow(),))


@dataclasses.dataclass
class HourIds(beam.PTransform):  # type: ignore[misc]
    """Unique ids per hour: PCollection[Batch] -> PCollection[tuple[Place, bytes]], a piece of each place's ids so far.

    parts: of an hour, each of which is kept, and shuffled, by itself. earlier: what to begin with.
    """

    clock: HourClock
    windows: beam.WindowInto
    parts: int = 1
    earlier: beam.PCollection[tuple[Place, bytes]] | None = None

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[tuple[Place, bytes]]:
        kind: Any = tuple[Place, bytes]
        panes = (
            batches
            | "Ids by hour" >> beam.ParDo(_IdsByHour(self.clock, self.parts)).with_output_types(kind)
            | "Hours" >> self.windows
            | "Union" >> beam.CombinePerKey(union).with_output_types(kind)
            | "No window" >> without_windows()
        )
        return _with_earlier(panes, self.earlier) | "Total" >> RunningTotals(union)


def _with_earlier(panes: beam.PCollection[Any], earlier: beam.PCollection[Any] | None) -> beam.PCollection[Any]:
    """Panes, and what earlier runs have left, if there is something."""
    if earlier is None:
        return panes
    earlier = earlier | "Earlier, no window" >> without_windows()
    earlier.element_type = panes.element_type
    both = (panes, earlier) | "With earlier" >> beam.Flatten()
    both.element_type = panes.element_type
    return both


def _count_pane(pane: tuple[int, HourCounts]) -> Counted:
    return count(counted=sum(pane[1]))


def _report_version(table: Table) -> Version:
    return f"{hour_name(table[0]['hour'])}.csv", (count_table(table), csv_text(table).encode())


def _ids_version(place: tuple[Place, bytes], clock: HourClock, parts: int) -> Version:
    (hour, part), piece = place
    (ids, came), which = merge_pieces(piece), f"-{part:0{len(str(parts))}}-of-{parts}" if parts > 1 else ""
    return f"{hour_name(clock.label(hour))}{which}.txt", (came, id_lines(ids))


@dataclasses.dataclass
class HourlyStream(beam.PTransform):  # type: ignore[misc]
    """The graph from blocks on: PCollection[AnyBlock] -> PCollection[str], the path of each report that was written."""

    job: StreamJob

    def expand(self, blocks: beam.PCollection[AnyBlock]) -> beam.PCollection[str]:
        job, clock = self.job, HourClock.parse(self.job.utc_offset, self.job.time_zone)
        seconds, at_once = job.early_firing_seconds, job.late_at_once
        want_ids = bool(job.ids_output or job.rejects_output) or job.deduplicate
        keep = job if job.resume else None
        decoded = blocks | "Decode" >> DecodeStream(
            want_ids, clock, job.allowed_lateness_seconds, job.max_future_seconds, keep, job.started
        )
        earlier = (
            blocks.pipeline | "Earlier runs" >> EarlierRuns(job.output) if job.resume else defaultdict(lambda: None)
        )
        if not (job.resume and job.rejects_output):  # else they are written as they are kept
            self._keep_rejects(decoded[REJECTS])
        batches, dropped = decoded.batches, [earlier[COUNTS]] if job.resume else []
        if job.deduplicate:
            drop = DropStreamDuplicates(clock, job.allowed_lateness_seconds, job.started)
            batches = _with_earlier(batches, earlier["batches"])
            batches, counted = batches | "Drop duplicates" >> drop
            dropped += counted
        if job.ids_output:
            ids = batches | "Unique ids" >> HourIds(
                clock, hour_windows(clock, seconds, at_once), job.id_parts, None if job.deduplicate else earlier[IDS]
            )
            lines = ids | "Id lines" >> beam.Map(_ids_version, clock, job.id_parts).with_output_types(Version)
            _ = lines | "Write ids" >> WriteHours(job.ids_output, job.token)
        counts = (
            batches
            | "Count" >> CountHours(clock, windows=hour_windows(clock, seconds, at_once))
            | "No window" >> without_windows()
        )
        counts = counts if job.deduplicate else _with_earlier(counts, earlier[HOURS])
        panes = counts | "Counted" >> beam.Map(_count_pane).with_output_types(Counted)
        _ = (panes, decoded[COUNTS], *dropped) | "All counts" >> beam.Flatten() | "Counters" >> KeepCounters()
        return (
            counts
            | "Total" >> RunningTotals(add_counts)
            | "Table" >> HourTables(clock)
            | "Scale" >> ScaleImpressions(job.impressions_factor)
            | "CSV" >> beam.Map(_report_version).with_output_types(Version)
            | "Write reports" >> WriteHours(job.output, job.token)
        )

    def _keep_rejects(self, rejects: beam.PCollection[tuple[Reject, ...]]) -> None:
        if self.job.rejects_output:
            lines = rejects | "Reject lines" >> FormatRejects()
            _ = lines | "Write rejects" >> WriteLines(self.job.rejects_output, self.job.token)
        else:
            _ = rejects | "Log rejects" >> beam.ParDo(LogRejects())


@dataclasses.dataclass
class ReadStream(beam.PTransform):  # type: ignore[misc]
    """The job's source: Pipeline -> PCollection[AnyBlock], unbounded."""

    job: StreamJob

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[AnyBlock]:
        job = self.job
        if job.subscription:
            return pipeline | "Topic" >> ReadTopic(job.subscription, job.timestamp_attribute, job.id_attribute)
        seconds = POLL_SECONDS if all(map(is_local, job.patterns)) else REMOTE_POLL_SECONDS
        files = pipeline | "Files" >> WatchFiles(job.patterns, seconds)
        return files | "Read" >> ReadBlocks(keep_broken=True)
