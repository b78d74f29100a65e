"""Totals of hours are given back when all events are in them, in whatever order that is learned; their names."""

import threading
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import apache_beam as beam
import pytest
from apache_beam.testing import test_stream
from apache_beam.transforms.window import GlobalWindow, TimestampedValue

from pipeline.engine.metrics import COUNTS
from pipeline.engine.run_state import run_state
from pipeline.model.hours import closing_time
from pipeline.stream import StreamJob, totals
from pipeline.stream.totals import Addition, EmitCountsAtClose, WriteReport, hour_name
from tests import support
from tests.streams import direct

HOUR, AGES = 1617390000, 2_000_000_000

ONE, THREE = (1, 0, 0, 0, 0, 0), (0, 3, 0, 0, 0, 0)


class Totals(NamedTuple):
    """held: of how many events each version of the report was, in turn. finals: marks. counted: of the panes."""

    held: list[int]
    finals: list[str]
    counted: int


def totals_of(parts: Sequence[Addition], folder: Path, ids: bool = False) -> Totals:
    """What is written of parts of an hour that come in this order."""
    held: list[int] = []
    counts: list[Any] = []
    stream = test_stream.TestStream()
    for part in parts:
        stream = stream.add_elements([(HOUR, part)])
    sound = totals.write_file

    def write(folder: str, name: str, token: str, data: bytes) -> str:
        held.extend([sum(map(int, data.split(b"\n")[1].split(b",")[1:-1]))] if name.endswith(".csv") else [])
        return sound(folder, name, token, data)

    with mock.patch.object(totals, "write_file", write), direct() as pipeline:
        came = pipeline | stream.advance_watermark_to_infinity()
        came.element_type = beam.typehints.Tuple[int, Any]
        job = StreamJob(str(folder), ids_output="ids" if ids else None)
        written = came | beam.ParDo(WriteReport(job)).with_outputs(COUNTS)
        _ = written[COUNTS] | beam.Map(support.Collect(counts))
    return Totals(held, [path.stem for path in folder.glob("*.final")], sum(some["counted"] for _, some in counts))


def pane(row: tuple[int, ...]) -> Addition:
    return row, 0, 0


def test_each_pane_is_added_and_written(tmp_path: Path) -> None:
    assert totals_of([pane(ONE), pane(THREE)], tmp_path) == ([1, 4], [], 4)


@pytest.mark.parametrize("order", list(permutations([pane(ONE), pane(THREE), (None, 4, 0), pane((0,) * 6)])))
def test_the_last_thing_to_come_makes_a_report_final(order: Sequence[Addition], tmp_path: Path) -> None:
    held, finals, counted = totals_of(order, tmp_path)
    assert (held[-1], len(held), finals, counted) == (4, 2, ["2021-04-02T20+0100"], 4)


def test_a_report_is_open_while_something_is_to_come(tmp_path: Path) -> None:
    assert totals_of([pane(ONE), (None, 4, 0)], tmp_path).finals == []


@pytest.mark.parametrize("order", list(permutations([pane(THREE), (None, 3, 0), *[(None, 0, n) for n in (1, 2)]])))
def test_a_report_is_final_once_its_ids_are(order: Sequence[Addition], tmp_path: Path) -> None:
    assert totals_of(order[:-1], tmp_path, ids=True).finals == []
    assert totals_of(order, tmp_path, ids=True).finals == ["2021-04-02T20+0100"]


def closed_of(stream: test_stream.TestStream, allowed: int = 60, key: Any = int) -> list[Any]:
    """What EmitCountsAtClose says."""
    closed: list[Any] = []
    with direct() as pipeline:
        came = pipeline | stream.advance_watermark_to_infinity()
        came.element_type = beam.typehints.Tuple[key, int]
        final = came | beam.ParDo(EmitCountsAtClose(allowed)) | beam.MapTuple(lambda key, addition: (key, addition[1]))
        _ = final | beam.Map(support.Collect(closed))
    return closed


def found(key: Any, number: int, when: int) -> TimestampedValue:
    return TimestampedValue((key, number), when)


def test_an_hour_is_closed_once_all_that_was_found_in_time_came() -> None:
    stream = (
        test_stream.TestStream()
        .advance_watermark_to(HOUR)
        .add_elements([found(HOUR, 2, HOUR), found(HOUR + 3600, 9, HOUR)])
    )
    last = HOUR + 3600 + 60
    stream = stream.advance_watermark_to(last).add_elements([found(HOUR, 3, last)])
    assert sorted(closed_of(stream.advance_watermark_to(last + 1))) == [(HOUR, 5), (HOUR + 3600, 9)]


def test_parts_of_hours_are_closed_each() -> None:
    places = [(HOUR, 0), (HOUR, 1)]
    stream = test_stream.TestStream().add_elements([found(place, part + 1, HOUR) for part, place in enumerate(places)])
    assert sorted(closed_of(stream, key=beam.typehints.Tuple[int, int])) == [((HOUR, 0), 1), ((HOUR, 1), 2)]


@pytest.mark.parametrize("stopped", [False, True])
def test_the_end_of_a_stream_closes_no_hour_that_is_open(stopped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = threading.Event()
    if stopped:
        stopping.set()
    monkeypatch.setattr(run_state, "stopping", stopping)
    stream = test_stream.TestStream().add_elements([found(HOUR, 1, HOUR), found(AGES, 2, HOUR)])
    assert closed_of(stream, 3600) == ([] if stopped else [(HOUR, 1)])


def test_hours_that_close_in_ages_close_in_the_time_of_beam() -> None:
    assert float(GlobalWindow().max_timestamp()) > closing_time(HOUR, 10**17) > AGES


@pytest.mark.parametrize(
    ("offset", "name"),
    [
        (3600, "2021-04-02T20+0100"),
        (0, "2021-04-02T19+0000"),
        (19800, "2021-04-03T01+0530"),
        (-12600, "2021-04-02T16-0330"),
        (-64800, "2021-04-02T01-1800"),
    ],
)
def test_the_name_of_an_hour(offset: int, name: str) -> None:
    hour = (1617393003 + offset) // 3600 * 3600 - offset
    assert hour_name(support.clock(offset).label(hour)) == name


def test_the_name_of_an_hour_in_the_year_10000() -> None:
    assert hour_name(support.clock(7200).label(253402297200)) == "10000-01-01T01+0200"
