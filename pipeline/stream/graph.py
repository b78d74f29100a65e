"""The report of a stream: the graph of a batch, in hourly windows.

watch files -> read blocks -> decode -> +-> count by hour and event -> sum -> pivot -> scale -> write the hour's report
or messages -> group ----------^        +-> ids by hour -> union -> write the hour's ids
                                        +-> rejects and late events -> write
Where hours close (totals.py), how many events came goes to those that keep something of an hour, when it is closed.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, AfterProcessingTime, AfterWatermark
from apache_beam.transforms.window import FixedWindows, GlobalWindow, GlobalWindows
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type
from apache_beam.utils.timestamp import MAX_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.engine.metrics import COUNTS, Counted, KeepCounters, count
from pipeline.engine.threads import ThreadedDoFn
from pipeline.formats.decoding import AnyBlock
from pipeline.model.events import Batch, Reject
from pipeline.model.hour_ids import Place, ids_by_hour, union
from pipeline.model.hours import HOUR, HourClock
from pipeline.model.ids import id_lines, ids_came, merge_pieces
from pipeline.model.table import HourCounts, Table, add_counts, count_table, csv_text
from pipeline.stream.decode import DecodeStream, LogRejects
from pipeline.stream.hour_files import Version, WriteHours, WriteRejects, hour_name
from pipeline.stream.job import StreamJob
from pipeline.stream.resume import HOURS, IDS, EarlierRuns, WriteKeptRejects
from pipeline.stream.topics import ReadTopic
from pipeline.stream.totals import CAME, CLOSED, CameByHour, CloseHours, RunningTotals, together
from pipeline.stream.watch import WatchFiles, poll_seconds
from pipeline.transforms.count import CountHours, HourTables, ScaleImpressions
from pipeline.transforms.decode import REJECTS
from pipeline.transforms.deduplicate import DropStreamDuplicates
from pipeline.transforms.read import GroupFiles, ReadBlocks

_HELD_BYTES = 64 * 1024 * 1024  # of ids, by a bundle
_NO_EARLIER: dict[str, Any] = defaultdict(lambda: None)
_FOREVER = 100_000 * 366 * 86400  # seconds of allowed lateness; Beam has no word for ever, its time ends in 294247


def hour_windows(clock: HourClock, early_firing_seconds: int, late_at_once: bool = False) -> beam.WindowInto:
    """Hours of event time: reported early, when the watermark passes their end, and then as often as before.

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


class _IdsByHour(ThreadedDoFn):
    """Ids of a bundle, united: a bundle may be hundreds of small files."""

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
        self._held: dict[Place, list[bytes]] = {}
        self._size = 0

    def work(self, batch: Batch) -> list[tuple[Place, bytes]]:
        return list(ids_by_hour(batch, self._clock, self._parts))

    def emit(self, places: list[tuple[Place, bytes]]) -> Iterator[Any]:
        for place, packed in places:
            self._held.setdefault(place, []).append(packed)
            self._size += len(packed)
        if self._size > _HELD_BYTES:
            yield from self._united()

    def finish_bundle(self) -> Iterator[Any]:
        yield from super().finish_bundle()
        yield from self._united()

    def _united(self) -> Iterator[Any]:
        held, in_global = self._held, (GlobalWindow(),)
        self._clear()
        for place, pieces in held.items():
            piece = union(pieces, self._parts)
            yield WindowedValue((place, piece), place[0], in_global)
            yield beam.pvalue.TaggedOutput(CAME, WindowedValue((place, ids_came(piece)), self._since, in_global))


@dataclasses.dataclass
class HourIds(beam.PTransform):  # type: ignore[misc]
    """Unique ids per hour: PCollection[Batch] -> RunningTotals' dict of PCollections.

    totals (main): tuple[Place, bytes], a piece of each place's ids so far. CLOSED: tuple[Place, int], see there.

    parts: of an hour, each of which is kept, and shuffled, by itself. earlier: what to begin with. close: hours.
    """

    clock: HourClock
    windows: beam.WindowInto
    parts: int = 1
    earlier: beam.PCollection[tuple[Place, bytes]] | None = None
    close: CloseHours | None = None

    def expand(self, batches: beam.PCollection[Batch]) -> Any:
        kind: Any = tuple[Place, bytes]
        unite = partial(union, parts=self.parts)
        split = beam.ParDo(_IdsByHour(self.clock, self.parts)).with_outputs(CAME, main="ids")
        found = batches | "Ids by hour" >> split
        found.ids.element_type = convert_to_beam_type(kind)
        found[CAME].element_type = convert_to_beam_type(tuple[Place, int])
        panes = (
            found.ids
            | "Hours" >> self.windows
            | "Union" >> beam.CombinePerKey(unite).with_output_types(kind)
            | "No window" >> without_windows()
        )
        closing = _closing(found[CAME], self.earlier, ids_came, self.close)
        return _with_earlier(panes, self.earlier) | "Total" >> RunningTotals(unite, ids_came, closing)


def _closing(
    came: beam.PCollection[Any], earlier: beam.PCollection[Any] | None, size: Callable[[Any], int], close: Any
) -> beam.PCollection[Any] | None:
    """How many events of each key came, once it is closed; those of earlier runs among them. None: nothing closes."""
    if close is None:
        return None
    earlier = earlier and earlier | "Earlier sizes" >> beam.MapTuple(lambda key, value: (key, size(value)))
    return together(came, earlier, "earlier sizes") | "Close" >> close


def _with_earlier(some: beam.PCollection[Any], earlier: beam.PCollection[Any] | None) -> beam.PCollection[Any]:
    """With what earlier runs have left, if there is something."""
    return together(some, earlier and earlier | "Earlier, no window" >> without_windows(), "earlier")


def _count_pane(pane: tuple[int, HourCounts]) -> Counted:
    return count(counted=sum(pane[1]))


def _report_version(table: Table) -> Version:
    return f"{hour_name(table[0]['hour'])}.csv", (count_table(table), csv_text(table).encode())


def _report_closed(closed: tuple[int, int], clock: HourClock) -> Version:
    return f"{hour_name(clock.label(closed[0]))}.csv", closed[1]


def _ids_version(ids: tuple[Place, bytes], clock: HourClock, parts: int) -> Version:
    merged, came = merge_pieces(ids[1], parts)
    return _ids_name(ids[0], clock, parts), (came, id_lines(merged))


def _ids_closed(closed: tuple[Place, int], clock: HourClock, parts: int) -> Version:
    return _ids_name(closed[0], clock, parts), closed[1]


def _ids_name(place: Place, clock: HourClock, parts: int) -> str:
    hour, part = place
    which = f"-{part:0{len(str(parts))}}-of-{parts}" if parts > 1 else ""
    return f"{hour_name(clock.label(hour))}{which}.txt"


@dataclasses.dataclass
class HourlyStream(beam.PTransform):  # type: ignore[misc]
    """The graph from blocks on: PCollection[AnyBlock] -> PCollection[str], the path of each report that was written."""

    job: StreamJob

    def expand(self, blocks: beam.PCollection[AnyBlock]) -> beam.PCollection[str]:
        job, clock = self.job, self.job.report.clock
        allowed, keep = job.allowed_lateness_seconds, job if job.resume else None
        want_ids = bool(job.ids_output or job.rejects_output) or job.report.deduplicate
        decoded = blocks | "Decode" >> DecodeStream(want_ids, clock, allowed, job.max_future_seconds, keep, job.started)
        self._keep_rejects(decoded[REJECTS])
        earlier = blocks.pipeline | "Earlier runs" >> EarlierRuns(job.output) if job.resume else _NO_EARLIER
        batches, counted = decoded.batches, [decoded[COUNTS], *([earlier[COUNTS]] if job.resume else ())]
        if job.report.deduplicate:
            batches = _with_earlier(batches, earlier["batches"])
            batches, dropped = batches | "Drop duplicates" >> DropStreamDuplicates(clock, allowed, job.started)
            counted, earlier = [*counted, *dropped], _NO_EARLIER
        if job.ids_output:
            self._write_ids(batches, earlier[IDS], clock)
        counts = batches | "Count" >> CountHours(clock, windows=self._windows(clock)) | "No window" >> without_windows()
        counts = _with_earlier(counts, earlier[HOURS])
        counted += [counts | "Counted" >> beam.Map(_count_pane).with_output_types(Counted)]
        _ = counted | "All counts" >> beam.Flatten() | "Counters" >> KeepCounters()
        return self._write_reports(counts, self._closing(batches, earlier[HOURS], clock), clock)

    def _windows(self, clock: HourClock) -> beam.WindowInto:
        return hour_windows(clock, self.job.early_firing_seconds, self.job.late_at_once)

    def _close(self) -> CloseHours | None:
        allowed = self.job.allowed_lateness_seconds
        return None if allowed is None else CloseHours(allowed, self.job.started)

    def _closing(self, batches: beam.PCollection[Batch], earlier: Any, clock: HourClock) -> Any:
        close = self._close()
        came = close and batches | "Came" >> beam.ParDo(CameByHour(clock)).with_output_types(tuple[int, int])
        return _closing(came, earlier, sum, close)

    def _write_reports(self, counts: beam.PCollection[Any], closing: Any, clock: HourClock) -> beam.PCollection[str]:
        totals = counts | "Total" >> RunningTotals(add_counts, sum, closing)
        reports = (
            totals.totals
            | "Table" >> HourTables(clock)
            | "Scale" >> ScaleImpressions(self.job.report.impressions_factor)
            | "CSV" >> beam.Map(_report_version).with_output_types(Version)
        )
        closed = closing and totals[CLOSED] | "Closed" >> beam.Map(_report_closed, clock)
        versions = together(reports, closed, "closed")
        return versions | "Write reports" >> WriteHours(self.job.output, self.job.token, self.job.resume)

    def _write_ids(self, batches: beam.PCollection[Batch], earlier: Any, clock: HourClock) -> None:
        parts = self.job.id_parts
        close = self._close()
        ids = batches | "Unique ids" >> HourIds(clock, self._windows(clock), parts, earlier, close)
        lines = ids.totals | "Id lines" >> beam.Map(_ids_version, clock, parts).with_output_types(Version)
        closed = close and ids[CLOSED] | "Ids closed" >> beam.Map(_ids_closed, clock, parts)
        _ = together(lines, closed, "closed ids") | "Write ids" >> WriteHours(self.job.ids_output, self.job.token)

    def _keep_rejects(self, rejects: beam.PCollection[tuple[Reject, ...]]) -> None:
        job = self.job
        if job.rejects_output and job.resume:
            _ = rejects | "Write rejects" >> WriteKeptRejects(job)
        elif job.rejects_output:
            seconds = None if job.late_at_once else job.early_firing_seconds
            _ = rejects | "Write rejects" >> WriteRejects(job.rejects_output, job.token, seconds)
        else:
            _ = rejects | "Log rejects" >> beam.ParDo(LogRejects())


@dataclasses.dataclass
class ReadStream(beam.PTransform):  # type: ignore[misc]
    """The job's source: Pipeline -> PCollection[AnyBlock], unbounded."""

    job: StreamJob

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[AnyBlock]:
        job = self.job
        if job.subscription:
            topic = ReadTopic(job.subscription, job.timestamp_attribute, job.id_attribute, job.late_at_once)
            return pipeline | "Topic" >> topic
        files = pipeline | "Files" >> WatchFiles(job.patterns, poll_seconds(job.patterns, job.early_firing_seconds))
        return files | "Group" >> GroupFiles() | "Read" >> ReadBlocks(keep_broken=True)
