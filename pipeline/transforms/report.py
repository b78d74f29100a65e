"""The transforms, to be used in any pipeline: each wires the plain functions of its module into Beam."""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from pipeline import coders  # noqa: F401 (registers how batches travel)
from pipeline import ids as id_sets
from pipeline.decoding import MANY_REJECTS, AnyBlock
from pipeline.events import Batch, Ids, Reject, batch_events
from pipeline.quick import QuickDoFn, quick_map
from pipeline.table import (
    DEFAULT_FACTOR,
    DEFAULT_UTC_OFFSET,
    Counts,
    HourCounts,
    Table,
    add_counts,
    count_batch,
    count_table,
    csv_text,
    merge_counts,
    parse_utc_offset,
    pivot,
    scale_impressions,
    split_hours,
)
from pipeline.tally import SHOWN, Tally, check_counts, merge_tallies, refuse_rejects, tally_batch
from pipeline.temporary import Spill, Stored, fetch, in_global_window
from pipeline.threads import ThreadedDoFn

REJECTS = "rejects"
"""Tag of the side output of DecodeBlocks."""

METRICS = "report"
"""Namespace of the counters of all workers: read, counted, rejected, duplicate (records), and what streams add."""

TOTALS = "totals"
"""Namespace of the counters of a finished batch: read, counted, rejected, duplicate (records), hours (rows).

They are counted once, at the end. Prism loses counters of bundles that end at about the same time as the first.
"""

Piece = tuple[Any, bytes]  # a part of a file: its place in the order, its bytes

_COUNTS_A_MERGE = 32  # partial counts held by a bundle before they are added up


def counter(name: str) -> Any:
    """A counter of this project."""
    return Metrics.counter(METRICS, name)


class _DecodeBlocks(ThreadedDoFn):
    def __init__(self, want_ids: bool, keep_rejects: bool) -> None:
        super().__init__()
        self._want_ids, self._keep_rejects = want_ids, keep_rejects
        self._read, self._rejected = counter("read"), counter("rejected")

    def work(self, block: AnyBlock) -> Batch:
        return block.decode(self._want_ids, None if self._keep_rejects else SHOWN)

    def start_bundle(self) -> None:
        super().start_bundle()
        self._tally = Tally()

    def emit(self, batch: Batch) -> Iterator[Any]:
        tally = tally_batch(batch)
        if batch.rejected and not self._keep_rejects:
            self._give_up_at_many(tally)
        self._read.inc(batch.read)
        self._rejected.inc(batch.rejected)
        if batch.rejects:
            yield beam.pvalue.TaggedOutput(REJECTS, batch.rejects)
        yield batch

    def _give_up_at_many(self, tally: Tally) -> None:
        self._tally = merge_tallies([self._tally, tally])
        if self._tally.rejected >= MANY_REJECTS:
            refuse_rejects(self._tally._replace(partial=True))


@dataclasses.dataclass
class DecodeBlocks(beam.PTransform):  # type: ignore[misc]
    """Decodes blocks: PCollection[AnyBlock] -> a dict of PCollections.

    batches (main): Batch, the valid events. REJECTS: tuple[Reject, ...], of one block (all with keep_rejects, the
    first few without). Raises InputError where a source as a whole cannot be read, and without keep_rejects
    RejectsError at MANY_REJECTS of a bundle.
    """

    want_ids: bool = True
    keep_rejects: bool = True

    def expand(self, blocks: beam.PCollection[AnyBlock]) -> Any:
        outputs = blocks | "Decode" >> beam.ParDo(_DecodeBlocks(self.want_ids, self.keep_rejects)).with_outputs(
            REJECTS, main="batches"
        )
        outputs.batches.element_type = Batch
        outputs[REJECTS].element_type = tuple[Reject, ...]
        return outputs


class BatchEvents(beam.PTransform):  # type: ignore[misc]
    """Packs decoded events: PCollection[dict] -> PCollection[Batch]. Raises EventError for what is no event."""

    def expand(self, events: beam.PCollection[dict[str, Any]]) -> beam.PCollection[Batch]:
        return (
            events
            | "Group" >> beam.BatchElements(min_batch_size=1, max_batch_size=10_000)
            | "Pack" >> beam.Map(batch_events).with_output_types(Batch)
        )


Partial = HourCounts | Tally
"""What is shuffled of a bundle: an hour's counts; or, under NO_HOUR, its tally."""

NO_HOUR = -(2**40)


class _CountBatches(QuickDoFn):
    """Adds up the counts of a bundle's batches, so that few partial counts are shuffled."""

    def __init__(self, offset: int, with_tally: bool) -> None:
        self._offset, self._with_tally = offset, with_tally
        self._counted = counter("counted")

    def start_bundle(self) -> None:
        self._parts: list[Counts] = []
        self._tally = Tally()

    def process(self, batch: Batch) -> None:
        self._parts.append(count_batch(batch, self._offset))
        self._tally = merge_tallies([self._tally, tally_batch(batch)])
        if len(self._parts) == _COUNTS_A_MERGE:
            self._parts = [merge_counts(self._parts)]

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if not self._parts:
            return
        counts = merge_counts(self._parts)
        if self._with_tally:
            self._counted.inc(int(counts[1].sum()))
        for hour, row in split_hours(counts, self._offset):
            yield WindowedValue((hour, row), hour, (GlobalWindow(),))
        if self._with_tally:
            yield in_global_window((NO_HOUR, self._tally))


def _add(partials: Iterable[Partial]) -> Partial:
    items = list(partials)
    return merge_tallies(items) if isinstance(items[0], Tally) else add_counts(items)  # type: ignore[arg-type]


@dataclasses.dataclass
class CountHours(beam.PTransform):  # type: ignore[misc]
    """Counts events: PCollection[Batch] -> PCollection[tuple[int, Partial]], each hour's counts by its start.

    offset: seconds east of UTC, where hours begin. An hour's counts have its start (Unix seconds) as their timestamp.
    with_tally: also the batches' tallies, under NO_HOUR. windows: for the counts, else the global window. Shuffles
    six counts per hour and bundle, never events.
    """

    offset: int
    with_tally: bool = False
    windows: beam.WindowInto | None = None

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[tuple[int, Partial]]:
        kind: Any = tuple[int, Partial] if self.with_tally else tuple[int, HourCounts]
        count = beam.ParDo(_CountBatches(self.offset, self.with_tally)).with_output_types(kind)
        counts = batches | "Count by hour and event" >> count
        counts = counts | "Hours" >> self.windows if self.windows else counts
        add = beam.CombinePerKey(_add if self.with_tally else add_counts)
        return counts | "Sum" >> add.with_output_types(kind)


class HourTables(beam.PTransform):  # type: ignore[misc]
    """Hours' counts as tables of one row: PCollection[tuple[int, HourCounts]] -> PCollection[Table].

    offset: as CountHours has it. In a stream each pane of an hour gives a table.
    """

    def __init__(self, offset: int) -> None:
        super().__init__()
        self._offset = offset

    def expand(self, counts: beam.PCollection[tuple[int, HourCounts]]) -> beam.PCollection[Table]:
        return counts | "Pivot" >> quick_map(lambda hour, offset: pivot([hour], offset), self._offset, output=Table)


class _Pivot(QuickDoFn):
    def __init__(self, offset: int, refuse: bool) -> None:
        self._offset, self._refuse = offset, refuse

    def process(self, _: bytes, partials: Iterable[tuple[int, Partial]]) -> Iterator[Table]:
        hours: dict[int, Any] = dict(partials)
        tally = hours.pop(NO_HOUR, Tally())
        if self._refuse:
            refuse_rejects(tally)
        table = pivot(hours.items(), self._offset)
        counted = count_table(table)
        check_counts(tally.read, counted, tally.rejected, tally.duplicate)
        totals = {
            "read": tally.read,
            "counted": counted,
            "rejected": tally.rejected,
            "duplicate": tally.duplicate,
            "hours": len(table),
        }
        for name, total in totals.items():
            Metrics.counter(TOTALS, name).inc(total)
        yield table


@dataclasses.dataclass
class HourlyTable(beam.PTransform):  # type: ignore[misc]
    """Counts events: PCollection[Batch] -> PCollection[Table], one table, also where there are no events.

    utc_offset: where hours begin, as "+01:00". refuse_rejects: RejectsError where a batch has any. Raises MismatchError
    where the table does not count all that was read and not rejected.
    """

    utc_offset: str = DEFAULT_UTC_OFFSET
    refuse_rejects: bool = False

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Table]:
        offset = parse_utc_offset(self.utc_offset)
        gathered = beam.pvalue.AsIter(batches | "Count" >> CountHours(offset, with_tally=True))
        # By a side input: half the stages of a global combine, and a table without events too.
        pivoted = beam.ParDo(_Pivot(offset, self.refuse_rejects), gathered).with_output_types(Table)
        return batches.pipeline | "Once" >> beam.Impulse() | "Pivot" >> pivoted


@dataclasses.dataclass
class ScaleImpressions(beam.PTransform):  # type: ignore[misc]
    """Adds the column impressions_scaled = impressions x factor: PCollection[Table] -> PCollection[Table]."""

    factor: str = DEFAULT_FACTOR

    def expand(self, tables: beam.PCollection[Table]) -> beam.PCollection[Table]:
        return tables | "Scale" >> quick_map(scale_impressions, self.factor, output=Table)


class FormatCsv(beam.PTransform):  # type: ignore[misc]
    """A table as CSV: PCollection[Table] -> PCollection[Piece], one piece, for sinks.WriteFile."""

    def expand(self, tables: beam.PCollection[Table]) -> beam.PCollection[Piece]:
        return tables | "Format" >> quick_map(lambda table: (0, csv_text(table).encode()), output=Piece)


class _PartitionIds(ThreadedDoFn):
    """Makes a set of a batch's ids, so that an id is shuffled once a block however often it comes."""

    def __init__(self, partitions: int) -> None:
        super().__init__()
        self._partitions = partitions

    def work(self, batch: Batch) -> list[tuple[int, bytes]]:
        return list(id_sets.partition(batch.ids, self._partitions))

    def emit(self, pieces: list[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        yield from pieces


class _MergeIds(ThreadedDoFn):
    def work(self, partition: tuple[int, Iterable[Stored]]) -> tuple[int, Ids]:
        number, pieces = partition
        return number, id_sets.merge(b"".join(map(fetch, pieces)))


@dataclasses.dataclass
class DistinctIds(beam.PTransform):  # type: ignore[misc]
    """Unique ids: PCollection[Batch] -> PCollection[tuple[int, Ids]], a set for each hash partition that has ids.

    spill: an output's path and the run's token, to shuffle many ids by temporary files beside the output (global
    window only), which `temporary.remove_leftovers` removes. partitions: how many, a power of two.
    """

    spill: tuple[str, str] | None = None
    partitions: int = id_sets.PARTITIONS

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[tuple[int, Ids]]:
        pieces = batches | "Partition by hash" >> beam.ParDo(_PartitionIds(self.partitions)).with_output_types(
            tuple[int, bytes]
        )
        if self.spill:
            pieces = pieces | "Spill" >> beam.ParDo(Spill(*self.spill)).with_output_types(tuple[int, Stored])
        merge = beam.ParDo(_MergeIds()).with_output_types(tuple[int, Ids])
        return pieces | "Group partitions" >> beam.GroupByKey() | "Merge" >> merge


class UniqueIds(beam.PTransform):  # type: ignore[misc]
    """Each id once: PCollection[Batch] -> PCollection[str]."""

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[str]:
        return (
            batches
            | DistinctIds()
            | "Unpack" >> beam.FlatMapTuple(lambda _, ids: [i.decode() for i in ids.to_list()]).with_output_types(str)
        )


class FormatIds(beam.PTransform):  # type: ignore[misc]
    """Sets of ids as lines: PCollection[tuple[int, Ids]] -> PCollection[Piece], in the order of partitions."""

    def expand(self, sets: beam.PCollection[tuple[int, Ids]]) -> beam.PCollection[Piece]:
        return sets | "Format" >> beam.MapTuple(lambda key, ids: (key, id_sets.id_lines(ids))).with_output_types(Piece)


class FormatRejects(beam.PTransform):  # type: ignore[misc]
    """Rejects as JSON Lines: PCollection[tuple[Reject, ...]] -> PCollection[Piece], in the order of the sources."""

    def expand(self, rejects: beam.PCollection[tuple[Reject, ...]]) -> beam.PCollection[Piece]:
        return rejects | "Format" >> quick_map(_reject_lines, output=Piece)


def _reject_lines(rejects: tuple[Reject, ...]) -> Piece:
    first = rejects[0]
    lines = "".join(json.dumps(dataclasses.asdict(reject)) + "\n" for reject in rejects)
    return (first.source, first.offset or 0, first.index or 0), lines.encode()
