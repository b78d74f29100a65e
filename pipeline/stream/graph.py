"""The graph of a stream: that of a batch, in hourly windows.

watch files -> read blocks -> decode -> +-> counts by hour and event -> sum -> total -> write the hour's report
or messages -> group ----------^        +-> ids by hour -> union -> total -> write the hour's ids
                                        +-> rejects and late events -> write
With allowed lateness, the final number of an hour's events goes to its totals (totals.py).

A PCollection read by a stateful step has no other consumer: Beam names the Flink operators of two such stages by the
order of a set, so a savepoint could be restored to the wrong one.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.timestamp import MIN_TIMESTAMP

from pipeline.engine.coders import typed
from pipeline.engine.metrics import COUNTS, Counted, KeepCounters, count
from pipeline.engine.run_state import run_state
from pipeline.formats.decoding import AnyBlock
from pipeline.model.duplicates import decode_keys
from pipeline.model.events import Batch, Reject
from pipeline.model.ids import HourShard, merge_packed, union
from pipeline.model.latency import steady_time
from pipeline.model.table import HourCounts, add_counts
from pipeline.stream.decode import DecodeStream, DecodeToLedger
from pipeline.stream.hour_files import WriteRejects
from pipeline.stream.job import StreamJob
from pipeline.stream.ledger import Contribution, ledger_of
from pipeline.stream.topics import ReadTopic
from pipeline.stream.totals import (
    FINAL_IDS,
    HOUR_COUNTS,
    HOUR_EVENTS,
    ID_EVENTS,
    IDS,
    Addition,
    EmitFinalCounts,
    SumHours,
    WriteIds,
    WriteReport,
    hour_sums,
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
        ids = sums | "Unique ids" >> WriteHourIds(job) if job.ids_output else None
        counted.append(sums | "Reports" >> WriteReports(job, ids))
        return counted | "All counts" >> beam.Flatten() | "Counters" >> KeepCounters()


def hour_outputs(values: Any, label: str, do_fn: beam.DoFn) -> dict[str, Any]:
    """Applies a DoFn that emits batches and tagged outputs, as DecodeStream does."""
    kinds = {
        "batches": Batch,
        REJECTS: tuple[Reject, ...],
        COUNTS: Counted,
        HOUR_COUNTS: tuple[int, HourCounts],
        HOUR_EVENTS: tuple[int, int],
        IDS: tuple[HourShard, bytes],
        ID_EVENTS: tuple[HourShard, int],
    }
    outputs = values | label >> beam.ParDo(do_fn).with_outputs(*list(kinds)[1:], main="batches")
    return {tag: typed(outputs[tag], kind) for tag, kind in kinds.items()}


def _flatten(inputs: Sequence[beam.PCollection[Any]], label: str) -> beam.PCollection[Any]:
    """Flattens PCollections of one type."""
    return typed(inputs | f"With {label}" >> beam.Flatten(), inputs[0].element_type)


def _additions(sums: Any, events: Any, add: Callable[..., Any], job: StreamJob) -> Any:
    """Sums by hour in panes: PCollection[tuple[K, T]] -> PCollection[tuple[K, Addition]], global window.

    Args:
      sums: PCollection[tuple[K, T]] of bundles.
      events: PCollection[tuple[K, int]], their numbers of events.
      add: adds up Ts.
    """
    windows = hour_windows(job.report.clock, job.early_firing_seconds, job.late_at_once)
    kind = tuple[sums.element_type.tuple_types[0], Addition]
    panes = sums | "Hours" >> windows | "Sum" >> beam.CombinePerKey(add).with_output_types(sums.element_type)
    in_global = panes | "No window" >> beam.WindowInto(GlobalWindows())  # Prism drops state at the end of others
    to_addition = beam.MapTuple(lambda key, pane: (key, (pane, 0, 0))).with_output_types(kind)
    additions = in_global | "Panes" >> to_addition
    if job.allowed_lateness_seconds is None:
        return additions
    final = typed(events | "Close" >> beam.ParDo(EmitFinalCounts(job.allowed_lateness_seconds)), kind)
    return _flatten([additions, final], "final counts")


@dataclasses.dataclass
class WriteReports(beam.PTransform):  # type: ignore[misc]
    """Writes a report for each hour: outputs of SumHours -> PCollection[Counted], the events in reports.

    ids: the output of WriteHourIds, or None.
    """

    job: StreamJob
    ids: Any

    def expand(self, sums: Any) -> beam.PCollection[Counted]:
        additions = _additions(sums[HOUR_COUNTS], sums[HOUR_EVENTS], add_counts, self.job)
        if self.ids and self.job.allowed_lateness_seconds is not None:
            additions = _flatten([additions, self.ids], "ids")
        written = additions | "Write" >> beam.ParDo(WriteReport(self.job)).with_outputs(COUNTS)
        return typed(written[COUNTS], Counted)


@dataclasses.dataclass
class WriteHourIds(beam.PTransform):  # type: ignore[misc]
    """Writes the unique ids of each hour: outputs of SumHours -> PCollection[tuple[int, Addition]] for its report."""

    job: StreamJob

    def expand(self, sums: Any) -> beam.PCollection[tuple[int, Addition]]:
        additions = _additions(sums[IDS], sums[ID_EVENTS], union, self.job)
        written = additions | "Write" >> beam.ParDo(WriteIds(self.job)).with_outputs(FINAL_IDS)
        return typed(written[FINAL_IDS], tuple[int, Addition])


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
