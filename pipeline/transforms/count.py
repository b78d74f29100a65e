"""Counts the events of batches per hour and event type."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.trigger import AccumulationMode
from apache_beam.transforms.window import BoundedWindow, GlobalWindow, GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.engine.metrics import TOTALS, counter
from pipeline.engine.spill import in_global_window
from pipeline.errors import UsageError
from pipeline.model.events import Batch
from pipeline.model.hours import HourClock
from pipeline.model.table import (
    DEFAULT_FACTOR,
    Counts,
    HourCounts,
    HourlyRow,
    Table,
    add_counts,
    check_hours,
    count_batch,
    count_hours,
    count_table,
    merge_counts,
    parse_factor,
    pivot,
    scale_impressions,
    split_hours,
)
from pipeline.model.tally import Tally, check_counts, check_coverage, merge_tallies, raise_on_rejects, tally_batch
from pipeline.transforms.windows import RunningTotals

_MERGE_AFTER = 32  # partial counts of a bundle and window are merged when there are this many

Partial = HourCounts | Tally
"""A bundle's partial result: the counts of an hour, keyed by the hour's start, or the bundle's tally, by TALLY_KEY."""

TALLY_KEY = -(2**40)
"""Key of tallies: below every possible start of an hour."""


class _CountBatches(beam.DoFn):  # type: ignore[misc]
    """Counts the batches of a bundle by window, so that few partial counts are shuffled."""

    def __init__(self, clock: HourClock, with_tally: bool) -> None:
        self._clock, self._with_tally = clock, with_tally
        self._counted = counter("counted")

    def start_bundle(self) -> None:
        self._parts: dict[BoundedWindow, list[Counts]] = {}
        self._tally = Tally()

    def process(self, batch: Batch, window: Any = beam.DoFn.WindowParam) -> None:
        parts = self._parts.setdefault(window, [])
        parts.append(count_batch(batch, self._clock))
        if len(parts) == _MERGE_AFTER:
            self._parts[window] = [merge_counts(parts)]
        if self._with_tally:
            self._tally = merge_tallies([self._tally, tally_batch(batch)])

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for window, parts in self._parts.items():
            counts = merge_counts(parts)
            if self._with_tally:
                check_hours(count_hours(counts))  # before emitting one element per hour
                self._counted.inc(int(counts[1].sum()))
                yield in_global_window((TALLY_KEY, self._tally))
            is_global = isinstance(window, GlobalWindow)
            for hour, row in split_hours(counts, self._clock):
                yield WindowedValue((hour, row), hour if is_global else window.max_timestamp(), (window,))


def _add(partials: Iterable[Partial]) -> Partial:
    items = list(partials)
    return merge_tallies(items) if isinstance(items[0], Tally) else add_counts(items)  # type: ignore[arg-type]


@dataclasses.dataclass
class CountHours(beam.PTransform):  # type: ignore[misc]
    """Counts events: PCollection[Batch] -> PCollection[tuple[int, Partial]], each hour's counts by its start.

    In the global window an hour's counts have its start (Unix seconds) as their timestamp. Shuffles six counts per hour
    and bundle, never events.

    Args:
      clock: assigns timestamps to hours.
      with_tally: count also the batches' tallies, under TALLY_KEY; global window only.
      windows: assigned to the counts by the start of their hour; None: the windows of the batches.
    """

    clock: HourClock
    with_tally: bool = False
    windows: beam.WindowInto | None = None

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[tuple[int, Partial]]:
        kind: Any = tuple[int, Partial] if self.with_tally else tuple[int, HourCounts]
        count = beam.ParDo(_CountBatches(self.clock, self.with_tally)).with_output_types(kind)
        if self.windows and not isinstance(batches.windowing.windowfn, GlobalWindows):
            batches = batches | "No window" >> beam.WindowInto(GlobalWindows())  # where counts have their hour's time
        counts = batches | "Count by hour and event" >> count
        counts = counts | "Hours" >> self.windows if self.windows else counts
        add = beam.CombinePerKey(_add if self.with_tally else add_counts)
        return counts | "Sum" >> add.with_output_types(kind)


def hourly_row(hour_counts: tuple[int, HourCounts], clock: HourClock, factor: str) -> HourlyRow:
    """Returns an hour's counts as a row."""
    (row,) = scale_impressions(pivot([hour_counts], clock), factor)
    return HourlyRow(**row)


@dataclasses.dataclass
class HourlyRows(beam.PTransform):  # type: ignore[misc]
    """Counts events: PCollection[Batch] -> PCollection[HourlyRow], a row for each hour that has events.

    Emits rows for each window and pane; in the global window of a batch job, these are the rows of the report. With
    `windows`, for streams, events are counted by event time whatever the windows of the batches: each pane emits a row
    with the hour's totals so far, in the global window.

    Args:
      utc_offset: the offset of local hours, such as "+05:30"; default +01:00.
      time_zone: an IANA name such as "Europe/Paris", instead of utc_offset.
      impressions_factor: a plain decimal number to scale impressions by.
      windows: such as hour_windows(); fired panes must be discarded.

    Raises:
      UsageError: an attribute is invalid.
    """

    utc_offset: str | None = None
    time_zone: str | None = None
    impressions_factor: str = DEFAULT_FACTOR
    windows: beam.WindowInto | None = None

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[HourlyRow]:
        clock = HourClock.parse(self.utc_offset, self.time_zone)
        parse_factor(self.impressions_factor)
        counts = batches | "Count" >> CountHours(clock, windows=self.windows)
        if self.windows:
            if counts.windowing.accumulation_mode == AccumulationMode.ACCUMULATING:
                raise UsageError(
                    "HourlyRows sums panes; use windows with AccumulationMode.DISCARDING, such as hour_windows()"
                )
            counts = counts | "Total" >> RunningTotals(add_counts)
        to_row = beam.Map(hourly_row, clock, self.impressions_factor).with_output_types(HourlyRow)
        return counts | "Rows" >> to_row


class _Pivot(beam.DoFn):  # type: ignore[misc]
    def __init__(self, clock: HourClock, fail_on_rejects: bool, expected_coverage: int | None) -> None:
        self._clock, self._fail_on_rejects, self._expected_coverage = clock, fail_on_rejects, expected_coverage

    def process(self, _: bytes, partials: Iterable[tuple[int, Partial]]) -> Iterator[Table]:
        hours: dict[int, Any] = dict(partials)
        tally = hours.pop(TALLY_KEY, Tally())
        if self._fail_on_rejects:
            raise_on_rejects(tally)
        check_hours(len(hours))
        table = pivot(hours.items(), self._clock)
        counted = count_table(table)
        check_counts(tally.read, counted, tally.rejected, tally.duplicate)
        if self._expected_coverage is not None:
            check_coverage(tally.coverage, self._expected_coverage)
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
    """Counts events: PCollection[Batch] -> PCollection[Table], one table, even without events.

    Args:
      utc_offset: the offset of local hours, such as "+05:30"; default +01:00.
      time_zone: an IANA name such as "Europe/Paris", instead of utc_offset.
      fail_on_rejects: fail the pipeline with RejectsError if a batch has any.
      expected_coverage: the coverage checksum of the sources; None: not checked.

    Raises:
      UsageError: the batches are windowed, or an attribute is invalid.
      MismatchError: while the pipeline runs, if counts do not add up to the records read, or blocks do not cover the
        sources.
      InputError: while the pipeline runs, if the table would have too many hours.
    """

    utc_offset: str | None = None
    time_zone: str | None = None
    fail_on_rejects: bool = False
    expected_coverage: int | None = None

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Table]:
        clock = HourClock.parse(self.utc_offset, self.time_zone)
        if not batches.windowing.is_default():
            raise UsageError("HourlyTable takes no windows or triggers: use HourlyRows")
        gathered = beam.pvalue.AsIter(batches | "Count" >> CountHours(clock, with_tally=True))
        # A side input: half the stages of a global combine, and a table even without events.
        pivoted = beam.ParDo(_Pivot(clock, self.fail_on_rejects, self.expected_coverage), gathered).with_output_types(
            Table
        )
        return batches.pipeline | "Once" >> beam.Impulse() | "Pivot" >> pivoted


@dataclasses.dataclass
class ScaleImpressions(beam.PTransform):  # type: ignore[misc]
    """Adds the column impressions_scaled = impressions x factor: PCollection[Table] -> PCollection[Table]."""

    factor: str = DEFAULT_FACTOR

    def expand(self, tables: beam.PCollection[Table]) -> beam.PCollection[Table]:
        parse_factor(self.factor)
        return tables | "Scale" >> beam.Map(scale_impressions, self.factor).with_output_types(Table)
