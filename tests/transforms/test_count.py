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
from pipeline.transforms import count as counting
from tests import support
from tests.support import EXAMPLE_EVENTS, EXAMPLE_REPORT, HEADER, MANY, batches, event, on_both_runners, only


@on_both_runners
@pytest.mark.parametrize(("events", "report"), [(EXAMPLE_EVENTS, EXAMPLE_REPORT), ([], HEADER)])
def test_hourly_table(runner: str, events: list[dict[str, Any]], report: str) -> None:
    with support.beam_pipeline(runner) as pipeline:
        table = batches(pipeline, events) | HourlyTable() | ScaleImpressions()
        assert_that(table | FormatCsv(), only((0, report.encode())))


@on_both_runners
@pytest.mark.parametrize("zone", [("+05:30", None), (None, "Europe/Paris")])
def test_hourly_table_of_many_events_elsewhere(runner: str, zone: tuple[str | None, str | None]) -> None:
    with support.beam_pipeline(runner) as pipeline:
        assert_that(batches(pipeline, MANY) | HourlyTable(*zone), only(hourly_table(MANY, *zone)))


@pytest.mark.parametrize(
    ("zone", "reason"), [(("1",), "UTC offset '1'"), (("+01:00", "Europe/Paris"), "mutually exclusive")]
)
def test_a_zone_that_is_wrong_is_refused_when_it_is_applied(zone: tuple[str, ...], reason: str) -> None:
    for transform in (HourlyTable, HourlyRows):
        with pytest.raises(UsageError, match=reason), support.beam_pipeline() as pipeline:
            _ = batches(pipeline, []) | transform(*zone)


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
