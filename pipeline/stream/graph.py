"""The report of a stream: the graph of a batch, in hourly windows.

watch files -> read blocks -> decode -> +-> count by hour and event -> sum -> total -> write the hour's report
or messages -> group ----------^        +-> ids by hour -> union -> total -> write the hour's ids
                                        +-> rejects and late events -> write
Where hours close (totals.py), the number of an hour's events goes to its totals when none can come any more.

A PCollection that a stateful step reads has no other consumer: when two stages read the same one, Beam tells Flink's
operators apart by the order of a set, and a savepoint may be restored to the wrong one.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow, GlobalWindows
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type
from apache_beam.utils.timestamp import MAX_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.engine.metrics import COUNTS, Counted, KeepCounters
from pipeline.engine.threads import ThreadedDoFn
from pipeline.formats.decoding import AnyBlock
from pipeline.model.events import Batch
from pipeline.model.hour_ids import Place, ids_by_hour, union
from pipeline.model.hours import HourClock
from pipeline.model.ids import ids_came
from pipeline.stream.decode import DecodeStream
from pipeline.stream.hour_files import WriteRejects
from pipeline.stream.job import StreamJob
from pipeline.stream.resume import HOURS, IDS, EarlierRuns
from pipeline.stream.topics import ReadTopic
from pipeline.stream.totals import (
    CLOSED,
    CloseHours,
    CountEventsPerHour,
    Part,
    WriteIds,
    WriteReport,
    ids_final,
    last,
    new,
)
from pipeline.stream.watch import WatchFiles
from pipeline.transforms.count import CountHours
from pipeline.transforms.decode import REJECTS
from pipeline.transforms.deduplicate import DropStreamDuplicates
from pipeline.transforms.read import GroupFiles, ReadBlocks
from pipeline.transforms.windows import hour_windows

_HELD_BYTES = 64 * 1024 * 1024  # of ids, by a bundle
_NO_EARLIER: dict[str, Any] = {HOURS: None, IDS: None}

_EVENT_COUNTS = "event counts"


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
            piece = union(pieces)
            yield WindowedValue((place, piece), place[0], in_global)
            number = WindowedValue((place, ids_came(piece)), self._since, in_global)
            yield beam.pvalue.TaggedOutput(_EVENT_COUNTS, number)


@dataclasses.dataclass
class HourlyStream(beam.PTransform):  # type: ignore[misc]
    """The graph from blocks on: PCollection[AnyBlock] -> nothing that is read; reports, ids and rejects are written."""

    job: StreamJob

    def expand(self, blocks: beam.PCollection[AnyBlock]) -> Any:
        job, clock = self.job, self.job.report.clock
        want_ids = bool(job.ids_output or job.rejects_output) or job.report.deduplicate
        decoded = blocks | "Decode" >> DecodeStream(job, want_ids)
        _ = decoded[REJECTS] | "Write rejects" >> WriteRejects(job)
        earlier = blocks.pipeline | "Earlier runs" >> EarlierRuns(job.output) if job.ledger else _NO_EARLIER
        batches, counted = decoded.batches, [decoded[COUNTS], *([earlier[COUNTS]] if job.ledger else [])]
        if job.report.deduplicate:
            batches = _flatten([batches, *([earlier["batches"]] if job.ledger else [])], "earlier")
            drop = DropStreamDuplicates(clock, job.allowed_lateness_seconds)
            batches, dropped = batches | "Drop duplicates" >> drop
            counted, earlier = [*counted, *dropped], _NO_EARLIER
        ids = batches | "Unique ids" >> UniqueIds(job, earlier[IDS]) if job.ids_output else None
        reports = batches | "Reports" >> HourlyReports(job, earlier[HOURS], ids)
        return [*counted, reports] | "All counts" >> beam.Flatten() | "Counters" >> KeepCounters()


def _windows(job: StreamJob) -> beam.WindowInto:
    return hour_windows(job.report.clock, job.early_firing_seconds, job.late_at_once)


def _flatten(parts: list[beam.PCollection[Any]], label: str) -> beam.PCollection[Any]:
    """One PCollection of several with elements of one type; the only one as it is."""
    if len(parts) == 1:
        return parts[0]
    both = parts | f"With {label}" >> beam.Flatten()
    both.element_type = parts[0].element_type
    return both


@dataclasses.dataclass
class _Parts(beam.PTransform):  # type: ignore[misc]
    """What comes to totals: PCollection[tuple[K, T]] -> PCollection[tuple[K, Part]], in the global window.

    Prism drops the state of a window at its end, whatever lateness it has.
    """

    as_part: Callable[[tuple[Any, Any]], tuple[Any, Part]]
    key: Any

    def expand(self, pairs: beam.PCollection[tuple[Any, Any]]) -> beam.PCollection[tuple[Any, Part]]:
        pairs = pairs | "No window" >> beam.WindowInto(GlobalWindows())
        return pairs | "Part" >> beam.Map(self.as_part).with_output_types(tuple[self.key, Part])  # type: ignore[name-defined]


@dataclasses.dataclass
class _Totals(beam.PTransform):  # type: ignore[misc]
    """Everything that comes to totals: PCollection[tuple[K, T]], panes -> PCollection[tuple[K, Part]].

    key: K. counts: PCollection[tuple[K, int]], of events as they are found. earlier: PCollection[tuple[K, T]], what
    earlier runs have left, or None. size: of how many events a T is. allowed: lateness, or None.
    """

    key: Any
    counts: beam.PCollection[tuple[Any, int]] | None
    earlier: beam.PCollection[tuple[Any, Any]] | None
    size: Callable[[Any], int]
    allowed: int | None

    def expand(self, panes: beam.PCollection[tuple[Any, Any]]) -> beam.PCollection[tuple[Any, Part]]:
        parts = [panes | "New" >> _Parts(new, self.key)]
        if self.earlier is not None:
            parts += [self.earlier | "Earlier" >> _Parts(new, self.key)]
        if self.allowed is not None:
            counts, size = [self.counts], self.size
            if self.earlier is not None:
                sizes = self.earlier | "Earlier sizes" >> beam.MapTuple(lambda key, value: (key, size(value)))
                sizes.element_type = convert_to_beam_type(tuple[self.key, int])  # type: ignore[name-defined]
                counts += [sizes]
            closed = _flatten(counts, "earlier sizes") | "Close" >> CloseHours(self.allowed)
            parts += [closed | "Last" >> _Parts(last, self.key)]
        return _flatten(parts, "parts")


@dataclasses.dataclass
class HourlyReports(beam.PTransform):  # type: ignore[misc]
    """Writes a report for each hour: PCollection[Batch] -> PCollection[Counted], the events that are in reports.

    earlier: PCollection[tuple[int, HourCounts]], what to begin with, or None. ids: of UniqueIds, or None.
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
        parts = panes | "Totals" >> _Totals(int, numbers, self.earlier, sum, job.allowed_lateness_seconds)
        if self.ids is not None and job.allowed_lateness_seconds is not None:
            parts = _flatten([parts, self.ids | "Ids" >> _Parts(ids_final, int)], "ids")
        written = parts | "Write" >> beam.ParDo(WriteReport(job)).with_outputs(COUNTS)
        written[COUNTS].element_type = convert_to_beam_type(Counted)
        return written[COUNTS]


@dataclasses.dataclass
class UniqueIds(beam.PTransform):  # type: ignore[misc]
    """Writes the unique ids of each hour: PCollection[Batch] -> PCollection[tuple[int, int]].

    An hour, and of how many of its events the ids are final. earlier: PCollection[tuple[Place, bytes]] or None.
    """

    job: StreamJob
    earlier: Any

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[tuple[int, int]]:
        job, kind = self.job, tuple[Place, bytes]
        split = beam.ParDo(_IdsByHour(job.report.clock, job.id_parts)).with_outputs(_EVENT_COUNTS, main="ids")
        found = batches | "Ids by hour" >> split
        found.ids.element_type = convert_to_beam_type(kind)
        found[_EVENT_COUNTS].element_type = convert_to_beam_type(tuple[Place, int])
        unite = beam.CombinePerKey(union).with_output_types(kind)
        panes = found.ids | "Hours" >> _windows(job) | "Union" >> unite
        totals = _Totals(Place, found[_EVENT_COUNTS], self.earlier, ids_came, job.allowed_lateness_seconds)
        written = panes | "Totals" >> totals | "Write" >> beam.ParDo(WriteIds(job)).with_outputs(CLOSED)
        written[CLOSED].element_type = convert_to_beam_type(tuple[int, int])
        return written[CLOSED]


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
