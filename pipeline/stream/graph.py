"""The graph of a stream: that of a batch, in hourly windows.

watch files -> read blocks -> decode -> +-> counts by hour and event -> sum -> total -> write the hour's report
or messages -> group ----------^        +-> ids by hour -> union -> total -> write the hour's ids
                                        +-> rejects and late events -> write
With allowed lateness, the final number of an hour's events goes to its totals (totals.py).

A PCollection read by a stateful step has no other consumer: Beam names the Flink operators of two such stages by the
order of a set, so a savepoint could be restored to the wrong one.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.transforms.trigger import AccumulationMode, AfterProcessingTime, AfterWatermark
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.timestamp import MIN_TIMESTAMP

from pipeline.engine.coders import typed
from pipeline.engine.metrics import COUNTS, Counted, KeepCounters, count
from pipeline.engine.prism import SinkDoFn
from pipeline.engine.run_state import run_state, steady_time
from pipeline.formats.decoding import AnyBlock
from pipeline.model.duplicates import decode_keys
from pipeline.model.events import Batch
from pipeline.model.ids import HourShard, merge_packed
from pipeline.model.table import HourCounts
from pipeline.stream import StreamJob
from pipeline.stream.decode import DecodeStream, DecodeToLedger
from pipeline.stream.ledger import Contribution, ledger_of
from pipeline.stream.topics import ReadTopic
from pipeline.stream.totals import (
    HOUR_COUNTS,
    HOUR_EVENTS,
    ID_EVENTS,
    IDS,
    Addition,
    EmitCountsAtClose,
    SumHours,
    WriteIds,
    WriteReport,
    hour_sums,
    write_file,
)
from pipeline.stream.watch import WatchFiles
from pipeline.transforms.decode import REJECTS
from pipeline.transforms.deduplicate import DropStreamDuplicates
from pipeline.transforms.read import GroupFiles, ReadBlocks
from pipeline.transforms.windows import hour_windows


class ReadLedger(beam.DoFn):  # type: ignore[misc]
    """Emits what earlier runs recorded, as DecodeStream does; COUNTS includes the events of final hours."""

    def __init__(self, job: StreamJob) -> None:
        self._job = job

    def process(self, _: bytes) -> Iterator[Any]:
        ledger, deduplicate = ledger_of(self._job.output), self._job.report.deduplicate
        tally = ledger.earlier_tally
        if tally["read"]:
            waiting = tally["read"] - tally["rejected"] - tally["late"] - tally["counted"]
            run_state.latency.add(steady_time(), 0, waiting)
            yield beam.pvalue.TaggedOutput(COUNTS, count(**tally))
        if not deduplicate:
            yield from hour_sums(Contribution(counts=ledger.earlier_counts), MIN_TIMESTAMP)
        for shard, packed in ledger.earlier_sets():
            if not deduplicate:
                yield from hour_sums(Contribution(sets={shard: [packed]}), MIN_TIMESTAMP)
                continue
            keys, events = merge_packed(packed)
            yield beam.pvalue.TaggedOutput(COUNTS, count(duplicate=events - len(keys.ends)))
            yield decode_keys(keys)


@dataclasses.dataclass
class HourlyStream(beam.PTransform):  # type: ignore[misc]
    """Writes reports, ids and rejects: PCollection[AnyBlock] -> nothing."""

    job: StreamJob

    def expand(self, blocks: beam.PCollection[AnyBlock]) -> Any:
        job, deduplicate = self.job, self.job.report.deduplicate
        decoded = hour_outputs(blocks, "Decode", (DecodeToLedger if job.ledger else DecodeStream)(job))
        if job.rejects_output:
            _ = decoded[REJECTS] | "Write rejects" >> WriteRejects(job)
        needed = ["batches"] if deduplicate else [HOUR_COUNTS, HOUR_EVENTS, IDS, ID_EVENTS]
        found = {tag: decoded[tag] for tag in (COUNTS, *needed)}
        if job.ledger:
            earlier = hour_outputs(blocks.pipeline | "Once" >> beam.Impulse(), "Earlier runs", ReadLedger(job))
            found = {tag: _flatten([new, earlier[tag]], f"earlier {tag}") for tag, new in found.items()}
        counted, sums = [found[COUNTS]], found
        if deduplicate:
            drop = DropStreamDuplicates(job.report.clock, job.allowed_lateness_seconds)
            batches, dropped = found["batches"] | "Drop duplicates" >> drop
            sums, counted = hour_outputs(batches, "Sum hours", SumHours(job)), [*counted, *dropped]
        ids = None
        if job.ids_output:
            ids = sums[IDS] | "Unique ids" >> WriteTotals(job, WriteIds(job), sums[ID_EVENTS])
        reports = WriteTotals(job, WriteReport(job), sums[HOUR_EVENTS], ids)
        counted.append(sums[HOUR_COUNTS] | "Reports" >> reports)
        return counted | "All counts" >> beam.Flatten() | "Counters" >> KeepCounters()


def hour_outputs(values: Any, label: str, do_fn: beam.DoFn) -> dict[str, Any]:
    """Applies a DoFn that emits batches and tagged outputs, as DecodeStream does."""
    kinds = {
        "batches": Batch,
        REJECTS: tuple[int, bytes],
        COUNTS: Counted,
        HOUR_COUNTS: tuple[int, HourCounts],
        HOUR_EVENTS: tuple[int, int],
        IDS: tuple[HourShard, bytes],
        ID_EVENTS: tuple[HourShard, int],
    }
    outputs = values | label >> beam.ParDo(do_fn).with_outputs(*list(kinds)[1:], main="batches")
    return {tag: typed(outputs[tag], kind) for tag, kind in kinds.items()}


def _flatten(inputs: Sequence[beam.PCollection[Any]], label: str) -> beam.PCollection[Any]:
    return typed(inputs | f"With {label}" >> beam.Flatten(), inputs[0].element_type)


@dataclasses.dataclass
class WriteTotals(beam.PTransform):  # type: ignore[misc]
    """Sums up panes of hours, and writes their totals: PCollection[tuple[K, T]] of bundles -> outputs of the writer.

    Attributes:
      writer: a DoFn: tuple[K, Addition of T] -> outputs.
      events: PCollection[tuple[K, int]], the numbers of events of the input.
      ids: PCollection[tuple[K, Addition]], output of the writer of ids, or None.
    """

    job: StreamJob
    writer: WriteReport | WriteIds
    events: Any
    ids: Any = None

    def expand(self, sums: beam.PCollection[Any]) -> beam.PCollection[Any]:
        job, writer, allowed = self.job, self.writer, self.job.allowed_lateness_seconds
        windows = hour_windows(job.report.clock, job.early_firing_seconds, job.late_at_once)
        kind = tuple[sums.element_type.tuple_types[0], Addition]
        merge = beam.CombinePerKey(writer.merge).with_output_types(sums.element_type)
        panes = sums | "Hours" >> windows | "Sum" >> merge
        in_global = panes | "No window" >> beam.WindowInto(GlobalWindows())  # Prism drops state at the end of others
        to_addition = beam.MapTuple(lambda key, pane: (key, (pane, 0, 0))).with_output_types(kind)
        additions = in_global | "Panes" >> to_addition
        if allowed is not None:
            final = typed(self.events | "Close" >> beam.ParDo(EmitCountsAtClose(allowed)), kind)
            additions = _flatten([additions, final, *([self.ids] if self.ids else [])], "final counts")
        written = additions | "Write" >> beam.ParDo(writer).with_outputs(writer.tag)
        return typed(written[writer.tag], writer.kind)


@dataclasses.dataclass
class GroupIntoIntervals(beam.PTransform):  # type: ignore[misc]
    """Groups the values of an interval: PCollection[tuple[K, T]] -> PCollection[tuple[K, Iterable[T]]].

    Uses the global window, for which nothing is late. Allowed lateness extends it by a day, to the maximum timestamp,
    since Prism drops the state of a window at its end and fails if a timer fires then.
    """

    seconds: int

    def expand(self, pairs: beam.PCollection[tuple[Any, Any]]) -> beam.PCollection[tuple[Any, Iterable[Any]]]:
        interval = AfterProcessingTime(self.seconds)
        window = beam.WindowInto(
            GlobalWindows(),
            trigger=AfterWatermark(early=interval, late=interval),
            accumulation_mode=AccumulationMode.DISCARDING,
            allowed_lateness=2 * 86400,
        )
        return pairs | "Interval" >> window | "Gather" >> beam.GroupByKey()


class _WriteRejects(SinkDoFn):
    """Writes rejects. With a ledger, they come from there, and the input only triggers the writing."""

    def __init__(self, job: StreamJob) -> None:
        self._job = job

    def process(self, gathered: tuple[int, Iterable[bytes]]) -> None:
        if self._job.ledger:
            write_ledger_rejects(self._job)
        else:
            lines = b"".join(gathered[1])
            _write_rejects(self._job, hashlib.blake2b(lines, digest_size=16).hexdigest(), lines)


def write_ledger_rejects(job: StreamJob) -> None:
    """Moves the rejects in the job's ledger to files, if the job writes rejects."""
    if job.rejects_output is not None:
        ledger_of(job.output).write_rejects(lambda name, lines: _write_rejects(job, name, lines))


def _write_rejects(job: StreamJob, name: str, lines: bytes) -> None:
    write_file(job.rejects_output or "", f"{name}.jsonl", job.token, lines)


@dataclasses.dataclass
class WriteRejects(beam.PTransform):  # type: ignore[misc]
    """Writes rejects: PCollection[tuple[int, bytes]], lines under one key -> PCollection[None], empty.

    They are grouped by intervals, so that there are few files. Without a ledger, a retried bundle may write its rejects
    twice.
    """

    job: StreamJob

    def expand(self, lines: beam.PCollection[tuple[int, bytes]]) -> beam.PCollection[None]:
        gathered = lines | GroupIntoIntervals(self.job.early_firing_seconds)
        return gathered | "Write" >> beam.ParDo(_WriteRejects(self.job)).with_output_types(None)


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
