"""How long it takes until reports hold what was found, by numbers of events."""

import pytest

from pipeline.model.latency import _MOST, LatencyTracker


def test_delays() -> None:
    came = LatencyTracker()
    assert came.delay(0, 100) is None
    came.add(100, 7, 5)
    came.add(103, 5, 5)
    assert came.delay(0, 104) == 4  # waits
    assert came.delay(4, 105) == 5
    assert came.delay(5, 106) == 6  # is reported
    assert came.delay(5, 107) == 6
    assert came.delay(5, 110) == 7  # the other one waits for longer
    came.add(110, 2, 2)
    assert came.delay(12, 112) == 9  # of two the longer
    assert came.delay(12, 200) == 9
    assert came.read == 14


def test_what_has_no_events_waits_for_nothing() -> None:
    came = LatencyTracker()
    came.add(100, 3, 0)
    assert (came.read, came.delay(0, 105)) == (3, None)


def test_a_clock_that_was_put_back_is_no_delay_below_zero() -> None:
    came = LatencyTracker()
    came.add(100, 1, 1)
    assert came.delay(1, 90) == 0


@pytest.mark.parametrize("more", [0, 1, 2 * _MOST])
def test_nobody_asks(more: int) -> None:
    came = LatencyTracker()
    for number in range(3 * _MOST + more):
        came.add(1000 + number, 1, 1)
        assert len(came._waiting) <= _MOST
    events = [entry[1] for entry in came._waiting]
    assert (events, events[-1]) == (sorted(set(events)), 3 * _MOST + more)
    assert came.delay(0, 10_000) == 9000
