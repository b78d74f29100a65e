"""The transforms, to be used in any pipeline: each wires the plain functions of its module into Beam."""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipeline import coders  # noqa: F401 (registers how batches travel)
from pipeline import ids as id_sets
from pipeline.decoding import MANY_REJECTS, AnyBlock, Block, decode
from pipeline.events import Batch, Ids, Reject, batch_events
from pipeline.parquet import RowBlock, decode_rows
from pipeline.quick import QuickDoFn, quick_map
from pipeline.table import (
    DEFAULT_FACTOR,
    DEFAULT_UTC_OFFSET,
    Counts,
    HourEvent,
    Table,
    count_batch,
    csv_text,
    merge_counts,
    name_counts,
    parse_utc_offset,
    pivot,
    scale_impressions,
)
from pipeline.tally import SHOWN, Tally, merge_tallies, refuse_rejects, tally_batch
from pipeline.threads import ThreadedDoFn

REJECTS, TALLIES = "rejects", "tallies"
"""Tags of the side outputs of DecodeBlocks."""

METRICS = "report"
"""Namespace of the counters: read, counted, rejected (records), hours (rows of the report)."""

Piece = tuple[Any, bytes]  # a part of a file: its place in the order, its bytes

_COUNTS_A_MERGE = 32  # partial counts held by a bundle before they are added up


def counter(name: str) -> Any:
    """A counter of this project."""
    return Metrics.counter(METRICS, name)


def _at_end(value: Any) -> WindowedValue:
    """An output of finish_bundle. Events carry their own time; the windows of a stream are set from it later."""
    return WindowedValue(value, MIN_TIMESTAMP, (GlobalWindow(),))


class _DecodeBlocks(ThreadedDoFn):
    def __init__(self, want_ids: bool, keep_rejects: bool) -> None:
        super().__init__()
        self._want_ids, self._keep_rejects = want_ids, keep_rejects
        self._read, self._rejected = counter("read"), counter("rejected")

    def work(self, block: AnyBlock) -> Batch:
        max_rejects = None if self._keep_rejects else SHOWN
        if isinstance(block, RowBlock):
            return decode_rows(block, self._want_ids, max_rejects)
        assert isinstance(block, Block)
        return decode(block, self._want_ids, max_rejects)

    def start_bundle(self) -> None:
        super().start_bundle()
        self._tally = Tally()

    def emit(self, batch: Batch) -> Iterator[Any]:
        tally = tally_batch(batch)
        if batch.rejected and not self._keep_rejects:
            self._give_up_at_many(tally)
        self._read.inc(batch.read)
        self._rejected.inc(batch.rejected)
        yield beam.pvalue.TaggedOutput(TALLIES, tally)
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
    first few without). TALLIES: Tally, of one block. Raises InputError where a source as a whole cannot be read, and
    without keep_rejects RejectsError at MANY_REJECTS of a bundle.
    """

    want_ids: bool = True
    keep_rejects: bool = True

    def expand(self, blocks: beam.PCollection[AnyBlock]) -> Any:
        outputs = blocks | "Decode" >> beam.ParDo(_DecodeBlocks(self.want_ids, self.keep_rejects)).with_outputs(
            REJECTS, TALLIES, main="batches"
        )
        outputs.batches.element_type = Batch
        outputs[REJECTS].element_type = tuple[Reject, ...]
        outputs[TALLIES].element_type = Tally
        return outputs


class BatchEvents(beam.PTransform):  # type: ignore[misc]
    """Packs decoded events: PCollection[dict] -> PCollection[Batch]. Raises EventError for what is no event."""

    def expand(self, events: beam.PCollection[dict[str, Any]]) -> beam.PCollection[Batch]:
        return (
            events
            | "Group" >> beam.BatchElements(min_batch_size=1, max_batch_size=10_000)
            | "Pack" >> beam.Map(batch_events).with_output_types(Batch)
        )


class _CountBatches(QuickDoFn):
    """Adds up the counts of a bundle's batches, so that few partial counts are shuffled."""

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._counted = counter("counted")

    def start_bundle(self) -> None:
        self._parts: list[Counts] = []

    def process(self, batch: Batch) -> None:
        self._parts.append(count_batch(batch, self._offset))
        if len(self._parts) == _COUNTS_A_MERGE:
            self._parts = [merge_counts(self._parts)]

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._parts:
            counts = merge_counts(self._parts)
            self._counted.inc(int(counts[1].sum()))
            yield from map(_at_end, name_counts(counts, self._offset))


class _Pivot(QuickDoFn):
    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._hours = counter("hours")

    def process(self, _: bytes, counts: Iterable[tuple[HourEvent, int]]) -> Iterator[Table]:
        table = pivot(list(counts), self._offset)
        self._hours.inc(len(table))
        yield table


@dataclasses.dataclass
class HourlyTable(beam.PTransform):  # type: ignore[misc]
    """Counts events: PCollection[Batch] -> PCollection[Table], one table, also where there are no events.

    utc_offset: where hours begin, as "+01:00". Shuffles ((hour, event type), count) per bundle, never events.
    """

    utc_offset: str = DEFAULT_UTC_OFFSET

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Table]:
        offset = parse_utc_offset(self.utc_offset)
        counts = (
            batches
            | "Key by hour and event" >> beam.ParDo(_CountBatches(offset)).with_output_types(tuple[HourEvent, int])
            | "Sum" >> beam.CombinePerKey(sum)
        )
        gathered = beam.pvalue.AsIter(counts)  # half the stages of a global combine, and a table without events too
        pivoted = beam.ParDo(_Pivot(offset), gathered).with_output_types(Table)
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

    def work(self, batch: Batch) -> list[tuple[int, bytes]]:
        return list(id_sets.partition(batch.ids))

    def emit(self, pieces: list[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        yield from pieces


class _MergeIds(ThreadedDoFn):
    def work(self, partition: tuple[int, Iterable[bytes]]) -> tuple[int, Ids]:
        number, pieces = partition
        return number, id_sets.merge(b"".join(pieces))


class DistinctIds(beam.PTransform):  # type: ignore[misc]
    """Unique ids: PCollection[Batch] -> PCollection[tuple[int, Ids]], a set for each hash partition that has ids."""

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[tuple[int, Ids]]:
        return (
            batches
            | "Partition by hash" >> beam.ParDo(_PartitionIds()).with_output_types(tuple[int, bytes])
            | "Group partitions" >> beam.GroupByKey()
            | "Merge" >> beam.ParDo(_MergeIds()).with_output_types(tuple[int, Ids])
        )


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


class MergeTallies(beam.PTransform):  # type: ignore[misc]
    """The sum of tallies: PCollection[Tally] -> PCollection[Tally], one, also where there are none."""

    def expand(self, tallies: beam.PCollection[Tally]) -> beam.PCollection[Tally]:
        merge = quick_map(lambda _, items: merge_tallies(items), beam.pvalue.AsIter(tallies), output=Tally)
        return tallies.pipeline | "Once" >> beam.Impulse() | "Merge" >> merge
