"""Totals are given back when as many events are in them as came in all, in whatever order that is learned."""

import time
from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing import test_stream
from apache_beam.transforms.window import GlobalWindow, TimestampedValue

from pipeline.model.events import Batch
from pipeline.model.hours import closing
from pipeline.schema import Event
from pipeline.stream.totals import CLOSED, CameByHour, CloseHours, RunningTotals
from tests import support

HOUR, NOW, AGES = 1617390000, int(time.time()), 2_000_000_000

Pair = tuple[int, Any]


def direct() -> beam.Pipeline:
    return beam.Pipeline("DirectRunner", PipelineOptions(["--streaming", support.NO_DOWNLOAD]))


def add(parts: list[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(number for part in parts for number in part)


def totals_of(elements: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Totals, and what was closed, of panes (tuples of any numbers) and sizes (numbers) that come in this order."""
    totals: list[Pair] = []
    closed: list[Pair] = []
    stream = test_stream.TestStream()
    for element in elements:
        stream = stream.add_elements([element])
    with direct() as pipeline:
        came = pipeline | stream.advance_watermark_to_infinity()
        came.element_type = beam.typehints.Tuple[int, Any]
        outputs = came | RunningTotals(add, len)
        _ = outputs.totals | "Totals" >> beam.Map(support.Collect(totals))
        _ = outputs[CLOSED] | "Closed" >> beam.Map(support.Collect(closed))
    return totals, closed


def test_what_comes_of_a_key_that_is_not_closed() -> None:
    assert totals_of([(1, (7,)), (2, (5,)), (1, (8, 9))]) == ([(1, (7,)), (2, (5,)), (1, (7, 8, 9))], [])


@pytest.mark.parametrize("order", list(permutations([(1, (7,)), (1, (8, 9)), (1, 3)])))
def test_the_last_thing_to_come_closes_a_key(order: Sequence[Pair]) -> None:
    totals, closed = totals_of([*order, (1, ())])  # an empty pane comes after the last one
    assert sorted(totals[-1][1]) == [7, 8, 9]
    assert (len(totals), closed) == (2, [(1, 2)])


def test_a_total_that_was_given_back_is_gone() -> None:
    totals, closed = totals_of([(1, (7, 8)), (1, 2), (1, (5,)), (1, 1), (1, (6,))])
    assert totals == [(1, (7, 8)), (1, (5,)), (1, (6,))]
    assert closed == [(1, 1), (1, 1)]


def test_a_total_stays_while_something_is_to_come() -> None:
    assert totals_of([(1, (7,)), (1, 3), (1, (8,))]) == ([(1, (7,)), (1, (7, 8))], [])


def closed_of(stream: test_stream.TestStream, allowed: int = 60, started: int = 0, key: Any = int) -> list[Any]:
    """What CloseHours says."""
    closed: list[Any] = []
    with direct() as pipeline:
        came = pipeline | stream.advance_watermark_to_infinity()
        came.element_type = beam.typehints.Tuple[key, int]
        _ = came | CloseHours(allowed, started) | beam.Map(support.Collect(closed))
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


@pytest.mark.parametrize("started", [0, NOW, AGES], ids=["long ago", "now", "in ages"])
def test_the_end_of_a_stream_closes_no_hour_that_is_open(started: int) -> None:
    stream = test_stream.TestStream().add_elements([found(HOUR, 1, HOUR), found(AGES, 2, HOUR)])
    assert closed_of(stream, 3600, started) == ([] if started else [(HOUR, 1)])


def test_hours_that_close_in_ages_close_in_the_time_of_beam() -> None:
    assert float(GlobalWindow().max_timestamp()) > closing(HOUR, 10**17, NOW) > AGES


def test_how_many_events_of_each_hour_came_to_a_bundle() -> None:
    batches = [
        TimestampedValue(Batch.of([Event("a", 0, time) for time in times], want_ids=False), when)
        for when, times in ((50, [HOUR, HOUR + 3600]), (40, [HOUR + 1]), (60, [HOUR + 2]))
    ]
    came: list[Any] = []
    with support.beam_pipeline("DirectRunner") as pipeline:
        numbers = pipeline | beam.Create(batches, reshuffle=False) | beam.Map(lambda batch: batch)
        timed = numbers | beam.ParDo(CameByHour(support.clock())) | beam.Map(with_time)
        _ = timed | "Collect" >> beam.Map(support.Collect(came))
    sums = Counter[int]()
    for hour, number, _ in came:
        sums[hour] += number
    assert sums == {HOUR: 3, HOUR + 3600: 1}
    assert min(when for _, _, when in came) == 40


def with_time(number: Pair, time: Any = beam.DoFn.TimestampParam) -> tuple[int, int, float]:
    return (*number, float(time))
