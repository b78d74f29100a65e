"""How long it takes until reports hold what was found, by numbers of events."""

import pytest

from pipeline.engine.run_state import _MAX_WAITING, LatencyTracker


def test_delays() -> None:
    tracker = LatencyTracker()
    assert tracker.max_latency(0, 100) is None
    tracker.add(100, 7, 5)
    tracker.add(103, 5, 5)
    assert tracker.max_latency(0, 104) == 4  # waits
    assert tracker.max_latency(4, 105) == 5
    assert tracker.max_latency(5, 106) == 6  # is reported
    assert tracker.max_latency(5, 107) == 6
    assert tracker.max_latency(5, 110) == 7  # the other one waits for longer
    tracker.add(110, 2, 2)
    assert tracker.max_latency(12, 112) == 9  # of two the longer
    assert tracker.max_latency(12, 200) == 9
    assert tracker.read == 14


def test_what_has_no_events_waits_for_nothing() -> None:
    tracker = LatencyTracker()
    tracker.add(100, 3, 0)
    assert (tracker.read, tracker.max_latency(0, 105)) == (3, None)


def test_a_clock_that_was_put_back_is_no_delay_below_zero() -> None:
    tracker = LatencyTracker()
    tracker.add(100, 1, 1)
    assert tracker.max_latency(1, 90) == 0


@pytest.mark.parametrize("more", [0, 1, 2 * _MAX_WAITING])
def test_nobody_asks(more: int) -> None:
    tracker = LatencyTracker()
    for number in range(3 * _MAX_WAITING + more):
        tracker.add(1000 + number, 1, 1)
        assert len(tracker._waiting) <= _MAX_WAITING
    events = [entry[1] for entry in tracker._waiting]
    assert (events, events[-1]) == (sorted(set(events)), 3 * _MAX_WAITING + more)
    assert tracker.max_latency(0, 10_000) == 9000
