"""Counting events by hour and type, and scaling impressions, on two runners."""

from collections.abc import Iterator
from contextlib import nullcontext
from decimal import Decimal
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, Repeatedly
from apache_beam.transforms.window import FixedWindows, GlobalWindows

from pipeline import (
    BatchEvents,
    Block,
    DecodeBlocks,
    FormatCsv,
    HourlyRows,
    HourlyTable,
    ScaleImpressions,
    hourly_table,
)
from pipeline.errors import InputError, MismatchError, RejectsError, UsageError
from pipeline.model import table as tables
from pipeline.model.events import Batch, batch_events
from pipeline.model.table import COLUMNS
from pipeline.transforms import count as counting
from tests import oracle, support
from tests.support import EXAMPLE_EVENTS, MANY, batches, event, on_both_runners, only


@on_both_runners
def test_hourly_table(runner: str) -> None:
    rows = [
        ("2021-04-02T18:00:00+01:00", 0, 1, 1, 0, 0, 0),
        ("2021-04-02T20:00:00+01:00", 0, 0, 1, 0, 0, 0),
        ("2021-04-02T22:00:00+01:00", 0, 0, 1, 1, 0, 1),
    ]
    with support.beam_pipeline(runner) as pipeline:
        table = batches(pipeline, EXAMPLE_EVENTS) | HourlyTable()
        assert_that(table, only([dict(zip(COLUMNS, row, strict=True)) for row in rows]))


@on_both_runners
def test_hourly_table_of_no_events(runner: str) -> None:
    with support.beam_pipeline(runner) as pipeline:
        assert_that(batches(pipeline, []) | HourlyTable(), only([]))


@on_both_runners
def test_hourly_table_of_many_events_at_another_offset(runner: str) -> None:
    with support.beam_pipeline(runner) as pipeline:
        assert_that(batches(pipeline, MANY) | HourlyTable("+05:30"), only(hourly_table(MANY, "+05:30")))


@on_both_runners
@pytest.mark.parametrize(
    ("zone", "start"), [("Europe/Paris", 1635631200), ("Europe/Paris", 1616882400), ("Australia/Adelaide", 1633185000)]
)
def test_hourly_table_where_clocks_change(runner: str, zone: str, start: int) -> None:
    events = [support.event(f"i{k}", oracle.EVENTS[k % 6], start + k * 300) for k in range(60)]
    rows = [(item["id"], item["event"], item["timestamp"]) for item in events]
    with support.beam_pipeline(runner) as pipeline:
        table = batches(pipeline, events) | HourlyTable(time_zone=zone) | ScaleImpressions()
        assert_that(table | FormatCsv(), only((0, oracle.report(rows, zone).encode())))


def test_hourly_table_refuses_a_zone_beside_an_offset() -> None:
    with pytest.raises(UsageError, match="mutually exclusive"), support.beam_pipeline() as pipeline:
        _ = batches(pipeline, []) | HourlyTable("+01:00", "Europe/Paris")


def test_hourly_table_refuses_a_bad_offset() -> None:
    with pytest.raises(UsageError, match="UTC offset '1'"), support.beam_pipeline() as pipeline:
        _ = batches(pipeline, []) | HourlyTable("1")


def test_hourly_table_adds_up_many_batches() -> None:
    with support.beam_pipeline() as pipeline:
        blocks = [Block(support.json_lines(MANY[k : k + 10])) for k in range(0, 3000, 10)]
        decoded = pipeline | beam.Create(blocks) | DecodeBlocks()
        assert_that(decoded.batches | HourlyTable(), only(hourly_table(MANY)))


class _BundlesOfOne(counting._CountBatches):
    """Gives the partial counts of each batch, as if each were a bundle: runners on one machine make few bundles."""

    def process(self, batch: Batch, window: Any = beam.DoFn.WindowParam) -> Iterator[Any]:  # type: ignore[override]
        self.start_bundle()
        super().process(batch, window)
        for count in super().finish_bundle():
            yield count.value
        self.start_bundle()


def test_partial_counts_of_many_bundles_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_CountBatches", _BundlesOfOne)
    blocks = [Block(support.json_lines(MANY[k::30])) for k in range(30)]
    with support.beam_pipeline() as pipeline:
        decoded = pipeline | beam.Create(blocks) | DecodeBlocks()
        assert_that(decoded.batches | HourlyTable(), only(hourly_table(MANY)))


@on_both_runners
def test_scale_impressions(runner: str) -> None:
    table = [{"hour": "a", "impressions": 3, "video_25": 1}, {"hour": "b", "impressions": 10, "video_25": 2}]
    wanted = [{**row, "impressions_scaled": Decimal(value)} for row, value in zip(table, ("0.3", "1.0"), strict=True)]
    with support.beam_pipeline(runner) as pipeline:
        assert_that(pipeline | beam.Create([table]) | ScaleImpressions(), only(wanted))


@on_both_runners
def test_scale_impressions_by_another_factor(runner: str) -> None:
    with support.beam_pipeline(runner) as pipeline:
        tables = pipeline | beam.Create([[{"impressions": 3}], []]) | ScaleImpressions("2.5")
        assert_that(tables, equal_to([[{"impressions": 3, "impressions_scaled": Decimal("7.5")}], []]))


@pytest.mark.parametrize("bundles", [1, 2])
def test_a_table_has_a_limit_of_hours(bundles: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_HOURS", 3)
    for count in (3, 4):
        events = [event(timestamp=3600 * k) for k in range(count)]
        parts = [events] if bundles == 1 else [events[:2], events[2:]]
        refused = pytest.raises(InputError, match="more than 3 different hours") if count > 3 else nullcontext()
        with refused, support.beam_pipeline() as pipeline:
            made = [pipeline | f"{k}" >> beam.Create([batch_events(part)]) for k, part in enumerate(parts)]
            assert_that(made | beam.Flatten() | HourlyTable() | beam.Map(len), equal_to([count]))


def test_invalid_events_are_refused_where_the_table_shall_refuse_them() -> None:
    with pytest.raises(RejectsError, match="1 of 2 records rejected"), support.beam_pipeline() as pipeline:
        _ = batches(pipeline, [event(), event(kind="click")]) | HourlyTable(fail_on_rejects=True)


@pytest.mark.parametrize(
    "windows",
    [
        beam.WindowInto(FixedWindows(60)),
        beam.WindowInto(
            GlobalWindows(), trigger=Repeatedly(AfterCount(1)), accumulation_mode=AccumulationMode.DISCARDING
        ),
    ],
)
def test_hourly_table_refuses_windows_when_it_is_applied(windows: beam.WindowInto) -> None:
    pipeline = support.beam_pipeline()
    with pytest.raises(UsageError, match="use HourlyRows"):
        _ = batches(pipeline, EXAMPLE_EVENTS) | windows | HourlyTable()


def test_a_bad_factor_is_refused_when_it_is_applied() -> None:
    pipeline = support.beam_pipeline()
    counted = batches(pipeline, EXAMPLE_EVENTS)
    with pytest.raises(UsageError, match="factor 'ten'"):
        _ = counted | HourlyTable() | ScaleImpressions("ten")
    with pytest.raises(UsageError, match="factor 'ten'"):
        _ = counted | HourlyRows(impressions_factor="ten")


@on_both_runners
def test_a_table_that_lost_an_event_is_refused(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "split_hours", lambda counts, offset: iter([]))
    with pytest.raises(MismatchError, match="read 6 records but counted 0"), support.beam_pipeline(runner) as pipeline:
        _ = pipeline | beam.Create(EXAMPLE_EVENTS) | BatchEvents() | HourlyTable()
