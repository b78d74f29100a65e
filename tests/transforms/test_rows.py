"""Hourly rows and unique ids in any pipeline: windows, panes, schemas, and the same counts as the report."""

import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing import test_stream as testing
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, AfterWatermark, Repeatedly
from apache_beam.transforms.window import FixedWindows, GlobalWindows, SlidingWindows, TimestampedValue
from apache_beam.typehints.schemas import named_fields_from_element_type
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import (
    BatchEvents,
    HourlyRow,
    HourlyRows,
    InvalidEvent,
    RunningTotals,
    UniqueIds,
    UsageError,
    hour_windows,
)
from tests import documents, oracle, support
from tests.support import EXAMPLE_EVENTS, event, on_both_runners

EXAMPLE_ROWS = [
    HourlyRow("2021-04-02T18:00:00+01:00", 0, 1, 1, 0, 0, 0, Decimal("0.0")),
    HourlyRow("2021-04-02T20:00:00+01:00", 0, 0, 1, 0, 0, 0, Decimal("0.0")),
    HourlyRow("2021-04-02T22:00:00+01:00", 0, 0, 1, 1, 0, 1, Decimal("0.0")),
]


def timestamped(item: dict[str, Any]) -> TimestampedValue:
    return TimestampedValue(item, item["timestamp"])


def as_text(rows: Iterable[HourlyRow]) -> str:
    """Rows as the report has them."""
    lines = sorted(",".join(map(str, row)) for row in rows)
    return ",".join(HourlyRow._fields) + "\n" + "".join(line + "\n" for line in lines)


@on_both_runners
@pytest.mark.parametrize(("events", "rows"), [(EXAMPLE_EVENTS, EXAMPLE_ROWS), ([], [])])
def test_rows_of_a_batch(runner: str, events: list[dict[str, Any]], rows: list[HourlyRow]) -> None:
    with support.beam_pipeline(runner) as pipeline:
        assert_that(pipeline | beam.Create(events) | BatchEvents() | HourlyRows(), equal_to(rows))


@on_both_runners
def test_invalid_events_are_an_output_of_their_own(runner: str) -> None:
    elements = [*EXAMPLE_EVENTS, b"no event", {}, json.dumps(EXAMPLE_EVENTS[0])]
    with support.beam_pipeline(runner) as pipeline:
        batches = pipeline | beam.Create(elements) | BatchEvents()
        errors = batches.errors | "Texts" >> beam.Map(lambda error: f"{error.record!r} {error.reason[:8]}")
        assert_that(
            batches | HourlyRows() | beam.Map(lambda row: sum(row[1:7])) | beam.CombineGlobally(sum), equal_to([7])
        )
        assert_that(errors, equal_to(["b'no event' not JSON", "{} missing "]), "errors")


def test_the_counters_of_batch_events() -> None:
    pipeline = support.beam_pipeline()
    _ = pipeline | beam.Create([*EXAMPLE_EVENTS, {}]) | BatchEvents()
    counters = pipeline.run().metrics().query()["counters"]
    found = {counter.key.metric.name: counter.result for counter in counters}
    assert (found["read"], found["rejected"]) == (7, 1)


def test_the_schema_of_a_row() -> None:
    with support.beam_pipeline() as pipeline:
        rows = pipeline | beam.Create(EXAMPLE_EVENTS) | BatchEvents() | HourlyRows()
        fields = dict(named_fields_from_element_type(rows.element_type))
        grouped = rows | beam.GroupBy("video_50").aggregate_field("video_25", sum, "total")
        assert_that(grouped | beam.Map(tuple), equal_to([(0, 2), (1, 1)]))
        decimals = rows | beam.Select("impressions_scaled") | beam.Map(lambda row: row.impressions_scaled)
        assert_that(decimals, equal_to([Decimal("0.0")] * 3), "decimals")
    assert fields["hour"] is str
    assert fields["impressions_scaled"] is Decimal
    assert [kind.__name__ for name, kind in fields.items() if name in oracle.EVENTS] == ["int64"] * 6


def test_another_zone_and_factor() -> None:
    events = [event(timestamp=1635631200 + 1800 * k) for k in range(6)]
    with support.beam_pipeline() as pipeline:
        rows = pipeline | beam.Create(events) | BatchEvents() | HourlyRows(None, "Europe/Paris", "0.25")
        wanted = oracle.report([("a", "impressions", item["timestamp"]) for item in events], "Europe/Paris", "0.25")
        assert_that(rows, lambda found: _is(as_text(found), wanted))


def _is(found: str, wanted: str) -> None:
    assert found == wanted


@settings(max_examples=4, deadline=None)
@given(st.lists(documents.events(), max_size=30), st.sampled_from([dict, json.dumps, lambda item: beam.Row(**item)]))
def test_rows_and_ids_are_the_oracles(events: list[dict[str, Any]], form: Any) -> None:
    plain = [{name: item[name] for name in ("id", "event", "timestamp")} for item in events]
    triples = [(item["id"], item["event"], item["timestamp"]) for item in plain]
    with support.beam_pipeline() as pipeline:
        batches = pipeline | beam.Create([form(item) for item in plain]) | BatchEvents()
        assert_that(batches | HourlyRows(), lambda rows: _is(as_text(rows), oracle.report(triples)))
        assert_that(batches | UniqueIds(), equal_to(oracle.unique_ids(triples)), "ids")
        assert_that(batches.errors, equal_to([]), "errors")


@on_both_runners
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("seconds", [3600, 0.5], ids=["hours", "half seconds"])
def test_windows_before_and_after_batches(runner: str, before: bool, seconds: float) -> None:
    """Events are in the windows of their elements, whose times here are not those of the events."""
    elements = [TimestampedValue(item, k * seconds / 2) for k, item in enumerate(EXAMPLE_EVENTS)]
    wanted = [(k * seconds, sorted(item["id"] for item in EXAMPLE_EVENTS[2 * k : 2 * k + 2])) for k in range(3)]
    steps = [BatchEvents(), beam.WindowInto(FixedWindows(seconds))]
    with support.beam_pipeline(runner) as pipeline:
        batches = pipeline | beam.Create(elements) | "Times" >> beam.Map(lambda element: element)
        for step in reversed(steps) if before else steps:
            batches = batches | step
        in_window = batches | UniqueIds() | beam.ParDo(WithWindow()) | "Ids" >> beam.GroupByKey()
        assert_that(in_window | beam.MapTuple(lambda window, ids: (window, sorted(ids))), equal_to(wanted))
        rows = batches | HourlyRows() | "Windows" >> beam.ParDo(WithWindow())
        counts = rows | beam.MapTuple(lambda window, row: (window, sum(row[1:7]))) | beam.CombinePerKey(sum)
        assert_that(counts, equal_to([(start, 2) for start, _ in wanted]), "counts")


class WithWindow(beam.DoFn):  # type: ignore[misc]
    """Pairs an element with the start of its window."""

    def process(self, element: Any, window: Any = beam.DoFn.WindowParam) -> Iterable[tuple[float, Any]]:
        yield float(window.start), element


def test_an_event_is_in_each_of_its_sliding_windows() -> None:
    with support.beam_pipeline() as pipeline:
        events = pipeline | beam.Create([event(timestamp=0)]) | beam.Map(timestamped)
        rows = events | beam.WindowInto(SlidingWindows(60, 20)) | BatchEvents() | HourlyRows()
        starts = rows | beam.ParDo(WithWindow()) | beam.MapTuple(lambda start, row: (start, row.impressions))
        assert_that(starts, equal_to([(0.0, 1), (-20.0, 1), (-40.0, 1)]))


def test_errors_have_the_window_and_time_of_their_element() -> None:
    class Where(beam.DoFn):  # type: ignore[misc]
        def process(self, error: InvalidEvent, timestamp: Any = beam.DoFn.TimestampParam) -> Iterable[Any]:
            yield error.record, float(timestamp)

    with support.beam_pipeline() as pipeline:
        elements = pipeline | beam.Create([("a", 5), ("b", 7)]) | beam.MapTuple(TimestampedValue)
        assert_that((elements | BatchEvents()).errors | beam.ParDo(Where()), equal_to([("a", 5.0), ("b", 7.0)]))


@pytest.mark.parametrize(
    ("mode", "counts", "ids"),
    [(AccumulationMode.DISCARDING, [1, 1], ["a", "a"]), (AccumulationMode.ACCUMULATING, [1, 2], ["a", "a"])],
)
def test_each_pane_of_a_stream_has_rows_and_ids(mode: Any, counts: list[int], ids: list[str]) -> None:
    stream = (
        testing.TestStream()
        .add_elements([TimestampedValue(json.dumps(event("a", timestamp=10)).encode(), 10)])
        .advance_watermark_to(60)
        .add_elements([TimestampedValue(json.dumps(event("a", timestamp=20)).encode(), 20)])
        .advance_watermark_to_infinity()
    )
    windows = beam.WindowInto(
        FixedWindows(60), trigger=AfterWatermark(late=AfterCount(1)), accumulation_mode=mode, allowed_lateness=600
    )
    with beam.Pipeline("DirectRunner", PipelineOptions(["--streaming", support.NO_DOWNLOAD])) as pipeline:
        batches = pipeline | stream | windows | BatchEvents()
        rows = batches | HourlyRows() | beam.Map(lambda row: row.impressions)
        assert_that(rows, equal_to(counts))
        assert_that(batches | UniqueIds(), equal_to(ids), "ids")


def test_a_stream_in_the_global_window_with_a_trigger() -> None:
    stream = (
        testing.TestStream().add_elements([event(), "x"]).add_elements([event("b")]).advance_watermark_to_infinity()
    )
    always = beam.WindowInto(
        GlobalWindows(), trigger=Repeatedly(AfterCount(1)), accumulation_mode=AccumulationMode.ACCUMULATING
    )
    with beam.Pipeline("DirectRunner", PipelineOptions(["--streaming", support.NO_DOWNLOAD])) as pipeline:
        batches = pipeline | stream | always | BatchEvents()
        assert_that(batches | HourlyRows() | beam.Map(lambda row: row.impressions), equal_to([1, 2]))
        assert_that(batches.errors | beam.Map(lambda error: error.record), equal_to(["x"]), "errors")


def test_the_totals_of_hours_in_a_stream() -> None:
    """Events count by their own time, whatever the windows of their messages; each new one gives the hour's total."""
    end = 1617393600  # of the first hour of the events
    first, second = (json.dumps(event(name, timestamp=end - 600)).encode() for name in "ab")
    stream = (
        testing.TestStream()
        .add_elements([TimestampedValue(first, end - 500), TimestampedValue(b"x", end - 500)])
        .advance_processing_time(61)
        .advance_watermark_to(end + 60)
        .add_elements(
            [TimestampedValue(second, end + 100), TimestampedValue(json.dumps(event(timestamp=end)), end + 99)]
        )
        .advance_processing_time(61)
        .advance_watermark_to_infinity()
    )
    with beam.Pipeline("DirectRunner", PipelineOptions(["--streaming", support.NO_DOWNLOAD])) as pipeline:
        batches = pipeline | stream | beam.WindowInto(FixedWindows(5)) | BatchEvents()
        rows = batches | HourlyRows(windows=hour_windows(early_firing_seconds=60, late_at_once=True))
        hours = rows | beam.Map(lambda row: (row.hour[11:13], row.impressions))
        assert_that(hours, equal_to([("20", 1), ("20", 2), ("21", 1)]))


def test_windows_that_accumulate_are_refused_when_rows_are_applied() -> None:
    pipeline = support.beam_pipeline()
    windows = beam.WindowInto(
        FixedWindows(3600), trigger=AfterWatermark(late=AfterCount(1)), accumulation_mode=AccumulationMode.ACCUMULATING
    )
    with pytest.raises(UsageError, match="windows with AccumulationMode"):
        _ = pipeline | beam.Create(EXAMPLE_EVENTS) | BatchEvents() | HourlyRows(windows=windows)


def test_running_totals_skip_panes_without_news() -> None:
    with support.beam_pipeline() as pipeline:
        totals = pipeline | beam.Create([("a", 1), ("a", 2), ("b", 0), ("a", 0), ("b", 5)]) | RunningTotals(sum)
        last = totals | beam.CombinePerKey(max)
        assert_that(last, equal_to([("a", 3), ("b", 5)]))
        assert_that(totals | beam.combiners.Count.PerKey(), equal_to([("a", 2), ("b", 2)]), "panes")
