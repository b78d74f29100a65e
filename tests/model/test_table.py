"""The table and its CSV text, as plain functions."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import EventError, InputError, UsageError
from pipeline.model import table as tables
from pipeline.model.events import NO_IDS, Batch
from pipeline.model.table import (
    SCALED,
    Counts,
    add_counts,
    count_batch,
    csv_text,
    hourly_table,
    merge_counts,
    parse_factor,
    pivot,
    scale_impressions,
    split_hours,
    write_csv,
)
from pipeline.schema import EVENT_TYPES
from tests import documents, oracle, support
from tests.support import EXAMPLE_EVENTS, EXAMPLE_REPORT, HEADER, event


def report(events: list[dict[str, Any]], utc_offset: str = "+01:00", factor: str = "0.1") -> str:
    return csv_text(scale_impressions(hourly_table(events, utc_offset), factor))


def hours(events: list[dict[str, Any]], utc_offset: str = "+01:00") -> list[str]:
    return [row["hour"] for row in hourly_table(events, utc_offset)]


def as_events(items: list[dict[str, Any]]) -> list[oracle.Event]:
    return [(item["id"], item["event"], item["timestamp"]) for item in items]


def test_example() -> None:
    assert report(EXAMPLE_EVENTS) == EXAMPLE_REPORT
    assert report(EXAMPLE_EVENTS[::-1]) == EXAMPLE_REPORT


def test_each_event_type_has_its_own_column() -> None:
    events = [event(kind=kind, timestamp=0) for k, kind in enumerate(oracle.EVENTS) for _ in range(k + 1)]
    assert report(events) == HEADER + "1970-01-01T01:00:00+01:00,1,2,3,4,5,6,0.1\n"
    assert EVENT_TYPES == oracle.EVENTS


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_timestamps_may_be_whole_numbers_of_numpy(kind: Any) -> None:
    assert hourly_table([event(timestamp=kind(100))]) == hourly_table([event(timestamp=100)])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.float32(1), "whole Unix seconds, not a number with a fraction or exponent"),
        (np.float64(1), "whole Unix seconds, not a number with a fraction or exponent"),
        (np.bool_(True), "whole Unix seconds, not another type"),
        (np.int64(-1), "must not be negative"),
        (np.uint64(2**63), "must be below"),
        (np.timedelta64(1, "s"), "whole Unix seconds, not"),
        (np.datetime64(1, "s"), "whole Unix seconds, not another type"),
    ],
)
def test_what_else_numpy_has_is_no_timestamp(value: Any, reason: str) -> None:
    with pytest.raises(EventError, match=reason):
        hourly_table([event(timestamp=value)])


def test_a_report_has_a_limit_of_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_HOURS", 3)
    events = [event(kind=kind, timestamp=3600 * (k % 3)) for k, kind in enumerate(EVENT_TYPES * 2)]
    assert len(hourly_table(events)) == 3
    with pytest.raises(InputError, match="into more than 3 different hours, the limit for a report"):
        hourly_table([*events, event(timestamp=3 * 3600)])


def test_no_events() -> None:
    assert hourly_table([]) == []
    assert report([]) == HEADER
    assert csv_text([]) == HEADER


def test_a_table_that_is_not_scaled_has_no_scaled_column() -> None:
    assert csv_text(hourly_table([event(timestamp=0)])) == HEADER.replace(",impressions_scaled", "") + (
        "1970-01-01T01:00:00+01:00,1,0,0,0,0,0\n"
    )


@pytest.mark.parametrize(
    ("utc_offset", "timestamp", "hour"),
    [
        ("+01:00", 1617382799, "2021-04-02T17:00:00+01:00"),
        ("+01:00", 1617382800, "2021-04-02T18:00:00+01:00"),
        ("+01:00", 1626343200, "2021-07-15T11:00:00+01:00"),  # no summer time
        ("-00:00", 0, "1970-01-01T00:00:00+00:00"),
        ("-18:00", 0, "1969-12-31T06:00:00-18:00"),
        ("+05:30", 1799, "1970-01-01T05:00:00+05:30"),
        ("-03:30", 1800, "1969-12-31T21:00:00-03:30"),
        ("-00:01", 59, "1969-12-31T23:00:00-00:01"),
        ("+02:00", 253402293599, "9999-12-31T23:00:00+02:00"),
        ("+02:00", 253402293600, "10000-01-01T00:00:00+02:00"),
        ("+18:00", 253402297199, "10000-01-01T16:00:00+18:00"),
    ],
)
def test_hours_by_the_offset(utc_offset: str, timestamp: int, hour: str) -> None:
    assert hours([event(timestamp=timestamp)], utc_offset) == [hour]


def test_hours_ascend_across_the_year_10000() -> None:
    events = [event(timestamp=instant) for instant in (253402297199, 253402293600, 253402293599, 0)]
    assert hours(events, "+02:00") == [
        "1970-01-01T02:00:00+02:00",
        "9999-12-31T23:00:00+02:00",
        "10000-01-01T00:00:00+02:00",
    ]


@settings(max_examples=200)
@given(st.lists(documents.events(), max_size=30), st.integers(-1080, 1080), st.sampled_from(("0.1", "1", "0.333")))
def test_report_against_the_oracle(items: list[dict[str, Any]], minutes: int, factor: str) -> None:
    # The oracle's datetime ends with the year 9999 and begins with 1.
    inside = [item for item in items if item["timestamp"] + minutes * 60 < 253402300800]
    text = report(inside, support.offset_text(minutes), factor)
    assert text == oracle.report(as_events(inside), minutes, factor)


@pytest.mark.parametrize(
    ("impressions", "factor", "scaled"),
    [
        (0, "0.1", "0.0"),
        (1, "0.1", "0.1"),
        (3, "0.1", "0.3"),
        (7, "0.1", "0.7"),
        (10, "0.1", "1.0"),
        (30, "0.1", "3.0"),
        (12345678901234567, "0.1", "1234567890123456.7"),
        (2**63 - 1, "0.1", "922337203685477580.7"),
        (10**40 + 1, "0.1", "1000000000000000000000000000000000000000.1"),
        (3, "2", "6"),
        (3, "0", "0"),
        (3, "1.50", "4.50"),
        (3, "0.000000000000001", "0.000000000000003"),
        (2**63 - 1, "999999999999999.999999999999999", "9223372036854775806999999999990776.627963145224193"),
        (1, "0.0000001", "0.0000001"),
    ],
)
def test_scaling_is_exact(impressions: int, factor: str, scaled: str) -> None:
    row = {"hour": "h", **dict.fromkeys(EVENT_TYPES, 0), "impressions": impressions}
    (result,) = scale_impressions([row], factor)
    assert csv_text([result]) == f"{HEADER}h,{impressions},0,0,0,0,0,{scaled}\n"
    assert isinstance(result[SCALED], Decimal)
    assert result == {**row, SCALED: Decimal(scaled)}
    assert SCALED not in row


@pytest.mark.parametrize("text", ["0", "1", "0.1", "10", "00.10", "123456789012345.123456789012345"])
def test_factors(text: str) -> None:
    assert parse_factor(text) == Decimal(text)


@pytest.mark.parametrize(
    "text",
    [*("", "x", "-1", "+1", ".1", "1.", "1e3", "NaN", "Infinity", "0,1", "1_0", " 1", "1\n"),
     *("1" * 16, f"0.{1:016}", "\u0663")],
)  # fmt: skip
def test_bad_factors(text: str) -> None:
    with pytest.raises(UsageError, match="factor"):
        parse_factor(text)
    with pytest.raises(UsageError):
        scale_impressions([{"impressions": 1}], text)


def test_what_is_no_event_is_named() -> None:
    with pytest.raises(EventError, match="event 1: id has a lone surrogate"):
        hourly_table(iter([event(), {**event(), "id": "\ud800"}, event()]))


def batch(timestamps: list[int], codes: list[int]) -> Batch:
    return Batch(np.array(codes, np.uint8), np.array(timestamps, np.int64), NO_IDS)


def named(counts: Counts, offset: int = 3600) -> dict[tuple[int, str], int]:
    rows = list(split_hours(counts, support.clock(offset)))
    assert [hour for hour, _ in rows] == sorted({hour for hour, _ in rows})
    return {(hour, event): n for hour, row in rows for event, n in zip(EVENT_TYPES, row, strict=True) if n}


@settings(max_examples=100)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from((0, 1, 3599, 3600, 9**9, 253402297199)), st.integers(0, 5))), max_size=5
    ),
    st.sampled_from((3600, 0, 19800, -64800, 64800, -60)),
)
def test_partial_counts_add_up(parts: list[list[tuple[int, int]]], offset: int) -> None:
    wanted: dict[tuple[int, str], int] = {}
    for timestamp, code in [pair for part in parts for pair in part]:
        key = ((timestamp + offset) // 3600 * 3600 - offset, EVENT_TYPES[code])
        wanted[key] = wanted.get(key, 0) + 1
    counts = [count_batch(batch([t for t, _ in part], [c for _, c in part]), support.clock(offset)) for part in parts]
    if counts:
        assert named(merge_counts(counts), offset) == wanted


def test_huge_counts_are_exact() -> None:
    keys = np.array([1], np.int64)
    merged = merge_counts([(keys, np.array([2**62], np.int64)), (keys, np.array([2**61 + 1], np.int64))])
    assert named(merged) == {(0, "video_start"): 2**62 + 2**61 + 1}
    assert csv_text(scale_impressions(pivot([(0, (10**30 + 3, 0, 0, 0, 0, 0))]))) == (
        f"{HEADER}1970-01-01T01:00:00+01:00,{10**30 + 3},0,0,0,0,0,{10**29}.3\n"
    )


def test_hours_add_up_by_event_type() -> None:
    assert add_counts([(1, 0, 0, 0, 2**62, 0), (2, 0, 0, 7, 2**62, 0)]) == (3, 0, 0, 7, 2**63, 0)
    assert pivot([(7200, (0, 0, 0, 0, 0, 1)), (0, (3, 0, 0, 0, 0, 0))]) == hourly_table(
        [event("a", "impressions", 0)] * 3 + [event("b", "video_completed", 7200)]
    )


def test_write_csv_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write_csv([], str(tmp_path / "missing" / "report.csv"))
    assert caught.value.filename == str(tmp_path / "missing" / "report.csv")
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(OSError, match="folder"):
        write_csv([], str(folder))
    with pytest.raises(KeyError):
        write_csv([{"hour": "h"}], str(tmp_path / "report.csv"))
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("factor", [0.1, Decimal("0.1"), "0.1"])
def test_a_factor_may_be_a_number(factor: str | Decimal | float) -> None:
    (row,) = tables.scale_impressions(tables.hourly_table([support.event()] * 3), factor)
    assert row["impressions_scaled"] == Decimal("0.3")
