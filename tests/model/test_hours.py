"""Hours of local clocks, against zoneinfo asked event by event."""

import pickle
import zoneinfo
from datetime import datetime
from zoneinfo import _zoneinfo

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.model.events import Batch
from pipeline.model.hours import HourClock, zone_names
from pipeline.model.ids import ids_by_hour, merge_packed
from pipeline.model.table import csv_text, hourly_table, scale_impressions
from pipeline.schema import Event
from tests import oracle
from tests.support import event

AUTUMN = 1635638400  # 2021-10-31T00:00Z; Paris leaves summer time at 01:00Z
SPRING = 1616889600  # 2021-03-28T00:00Z; Paris goes over to summer time at 01:00Z


def zone(name: str) -> HourClock:
    return HourClock.parse(None, name)


def labels(clock: HourClock, *timestamps: int) -> list[str]:
    return [clock.label(start) for start in clock.starts(clock.numbers(np.array(timestamps, np.int64))).tolist()]


def test_the_two_hours_of_an_autumn_night() -> None:
    times = [AUTUMN + second for second in (-1, 0, 3599, 3600, 7199, 7200)]
    assert labels(zone("Europe/Paris"), *times) == [
        "2021-10-31T01:00:00+02:00",
        "2021-10-31T02:00:00+02:00",
        "2021-10-31T02:00:00+02:00",
        "2021-10-31T02:00:00+01:00",
        "2021-10-31T02:00:00+01:00",
        "2021-10-31T03:00:00+01:00",
    ]


def test_the_hour_that_a_spring_night_lacks() -> None:
    assert labels(zone("Europe/Paris"), SPRING, SPRING + 3599, SPRING + 3600, SPRING + 7200) == [
        "2021-03-28T01:00:00+01:00",
        "2021-03-28T01:00:00+01:00",
        "2021-03-28T03:00:00+02:00",
        "2021-03-28T04:00:00+02:00",
    ]


@pytest.mark.parametrize(
    ("name", "timestamp", "label"),
    [
        ("Europe/Paris", 0, "1970-01-01T01:00:00+01:00"),
        ("Europe/London", 0, "1970-01-01T01:00:00+01:00"),  # which had summer time all year then
        ("America/New_York", 0, "1969-12-31T19:00:00-05:00"),
        ("Asia/Kolkata", 1799, "1970-01-01T05:00:00+05:30"),
        ("Asia/Kolkata", 1800, "1970-01-01T06:00:00+05:30"),
        ("Australia/Adelaide", 1633190400, "2021-10-03T01:00:00+09:30"),
        ("Australia/Adelaide", 1633192200, "2021-10-03T03:00:00+10:30"),
        ("Etc/GMT+1", 3600, "1970-01-01T00:00:00-01:00"),
        ("UTC", 7, "1970-01-01T00:00:00+00:00"),
        ("Europe/Paris", 253386486000, "9999-07-02T01:00:00+02:00"),
        ("Europe/Paris", 253402297199, "9999-12-31T23:00:00+01:00"),
        ("Europe/Athens", 253402297199, "10000-01-01T00:00:00+02:00"),
        ("Pacific/Auckland", 253402297199, "10000-01-01T11:00:00+13:00"),
    ],
)
def test_far_past_far_future_and_half_hours(name: str, timestamp: int, label: str) -> None:
    assert labels(zone(name), timestamp) == [label]
    assert [row["hour"] for row in hourly_table([event(timestamp=timestamp)], time_zone=name)] == [label]


def test_clocks_that_change_within_an_hour() -> None:
    # St. John's left summer time at 00:01, so its clocks showed 23:01 again.
    change = 1162089060
    assert labels(
        zone("America/St_Johns"), change - 61, change - 60, change - 1, change, change + 3539, change + 3540
    ) == [
        "2006-10-28T23:00:00-02:30",
        "2006-10-29T00:00:00-02:30",
        "2006-10-29T00:00:00-02:30",
        "2006-10-28T23:00:00-03:30",
        "2006-10-28T23:00:00-03:30",
        "2006-10-29T00:00:00-03:30",
    ]


@pytest.mark.parametrize("name", ["Europe/Paris", "America/St_Johns", "+05:30"])
def test_a_clock_travels_as_its_name(name: str) -> None:
    clock = HourClock.parse(name) if name[0] == "+" else zone(name)
    data = pickle.dumps(clock)
    assert len(data) < 200
    assert pickle.loads(data) == clock
    assert hash(pickle.loads(data)) == hash(clock)
    assert labels(pickle.loads(data), 1162089600) == labels(clock, 1162089600)


def changes(name: str) -> list[int]:
    """Where a zone's clocks change since 1970: those that its file lists, and some of those by its rule."""
    read = _zoneinfo.ZoneInfo(name)
    listed = [moment for moment in read._trans_utc if moment > -3600]
    rules = [read._tz_after.transitions(year) for year in (2040, 2096, 9998) if hasattr(read._tz_after, "transitions")]
    return [*listed, *(int(local) - 3600 * shift for pair in rules for local in pair for shift in range(-14, 15))]


def offset_at(name: str, moment: int) -> int:
    moved = datetime.fromtimestamp(moment, zoneinfo.ZoneInfo(name)).utcoffset()
    assert moved is not None
    return int(moved.total_seconds())


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(zone_names())), st.lists(st.integers(0, 253402297199 - 86400), max_size=20))
@example("Europe/Paris", [0])
@example("Africa/Casablanca", [])
@example("America/St_Johns", [])
@example("Asia/Hong_Kong", [])
@example("Pacific/Chatham", [])
@example("Pacific/Apia", [])
@example("Africa/Monrovia", [])
def test_any_zone_event_by_event(name: str, others: list[int]) -> None:
    near = {change + step for change in changes(name) for step in (-3600, -60, -1, 0, 1, 59, 60, 1799, 1800, 3600)}
    times = sorted(moment for moment in near | set(others) if moment >= 0)
    if len({offset_at(name, moment) % 3600 for moment in [0, *times]}) > 1:
        with pytest.raises(UsageError, match="differ by less than whole hours"):
            zone(name)
        return
    events = [event(f"i{k}", oracle.EVENTS[k % 6], moment) for k, moment in enumerate(times)]
    rows = [(item["id"], item["event"], item["timestamp"]) for item in events]
    table = hourly_table(events[::-1], time_zone=name)
    assert csv_text(scale_impressions(table)) == oracle.report(rows, name)
    assert len({row["hour"] for row in table}) == len(table)
    hours: dict[str, set[bytes]] = {}
    for identity, _, moment in rows:
        hours.setdefault(oracle.hour(moment, name), set()).add(identity.encode())
    batch = Batch.of([Event(identity, 0, moment) for identity, _, moment in rows])
    found = [
        (zone(name).label(start), set(merge_packed(piece)[0].to_list()))
        for (start, _), piece in ids_by_hour(batch, zone(name))
    ]
    assert found == list(hours.items())
