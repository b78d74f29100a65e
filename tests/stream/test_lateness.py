"""Which events are too late or from the future, and what is kept of them."""

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.decoding import Block, BrokenBlock
from pipeline.model.events import Batch, Reject
from pipeline.model.hours import HourClock
from pipeline.schema import EVENT_TYPES, Event
from pipeline.stream.decode import reject_future_events, reject_late_events
from tests import oracle, support

END = 1617393600  # of the hour of 1617393003, at any offset of whole hours
CLOCK = support.clock()


def batch(*timestamps: int, want_ids: bool = True) -> Batch:
    return Batch.of([Event(f"id-{k}", k % 6, t) for k, t in enumerate(timestamps)], want_ids)


def times(some: Batch | Sequence[Reject]) -> list[int]:
    return some.timestamps.tolist() if isinstance(some, Batch) else [json.loads(one.raw)["timestamp"] for one in some]


def split_late(
    some: Batch, arrived: int, allowed: int, clock: HourClock = CLOCK, found: float = -math.inf, final: Any = ()
) -> tuple[Batch, Sequence[Reject]]:
    """The batch without its late events, and these as rejects."""
    block = Block(b"", source="file", offset=7, arrived=arrived)
    kept, late = reject_late_events(some, block, clock, allowed, found, final)
    assert (kept.rejected, kept.read, kept.rejects[: len(some.rejects)]) == (some.rejected, some.read, some.rejects)
    lost = kept.rejects[len(some.rejects) :]
    assert len(lost) == late
    return kept, lost


@pytest.mark.parametrize(
    ("arrived", "allowed", "late"),
    [
        (END, 0, False),
        (END + 1, 0, True),
        (END + 60, 60, False),
        (END + 61, 60, True),
        (0, 0, False),
        (2**40, 2**60, False),
    ],
)
def test_an_event_is_late_when_it_came_after_its_hour_was_closed(arrived: int, allowed: int, late: bool) -> None:
    on_time, lost = split_late(batch(END - 1), arrived, allowed)
    assert (times(on_time), times(lost)) == (([], [END - 1]) if late else ([END - 1], []))


@pytest.mark.parametrize(("found", "late"), [(END + 60, False), (END + 60.5, True), (0, False)])
def test_an_event_that_was_written_in_time_is_late_when_it_is_found_after_its_hour_was_closed(
    found: float, late: bool
) -> None:
    lost = split_late(batch(END - 1), END, 60, CLOCK, found)[1]
    assert times(lost) == [END - 1] * late
    assert [reject.reason for reject in lost] == [
        f"late: found {int(found) - END} s after the end of its hour 2021-04-02T20:00:00+01:00, which was closed, "
        "although written in time"
    ] * late


def test_an_event_of_a_final_hour_is_late_whenever_it_was_written_and_found() -> None:
    some = batch(END - 1, END, END - 3600, END - 3601)
    on_time, lost = split_late(some, END, 10**9, CLOCK, END, {END - 3600, 0})
    assert (times(on_time), times(lost)) == ([END, END - 3601], [END - 1, END - 3600])


@pytest.mark.parametrize(("offset", "end"), [(19800, END - 1800), (-12600, END - 1800), (0, END), (-3600, END)])
def test_hours_end_by_the_offset(offset: int, end: int) -> None:
    some = batch(end - 3600, end - 1, end, end - 3601)
    assert times(split_late(some, end, 0, support.clock(offset))[1]) == [end - 3601]
    assert times(split_late(some, end + 1, 0, support.clock(offset))[1]) == [end - 3600, end - 1, end - 3601]


def test_rejects_stay_with_the_events_in_time() -> None:
    broken = BrokenBlock("file", "cut off").decode(True, None)
    some = Batch.concat([batch(0, END, 5), broken])
    on_time, lost = split_late(some, END + 1, 0, CLOCK)
    assert (support.batch_rows(on_time), on_time.rejected) == ([("id-1", EVENT_TYPES[1], END)], 1)
    assert (times(lost), broken.rejected) == ([0, 5], 1)


def test_without_late_events_nothing_is_copied() -> None:
    some = batch(0, 5)
    on_time, lost = split_late(some, 0, 0)
    assert on_time is some
    assert lost == ()


def test_a_late_event_is_kept_as_it_was_with_the_reason() -> None:
    (reject,) = split_late(batch(END - 1), END + 90, 0)[1]
    assert json.loads(reject.raw) == {"id": "id-0", "event": "impressions", "timestamp": END - 1}
    assert reject.reason == "late: arrived 90 s after the end of its hour 2021-04-02T20:00:00+01:00"
    assert str(reject) == f"file: byte 7: {reject.reason}"


def test_a_late_event_without_its_id() -> None:
    (reject,) = split_late(batch(0, want_ids=False), END, 0)[1]
    assert json.loads(reject.raw) == {"id": "", "event": "impressions", "timestamp": 0}


TIMES = st.lists(st.integers(0, 3 * 3600), max_size=12)


@given(TIMES, st.integers(0, 5 * 3600), st.integers(0, 3600), st.integers(-18 * 60, 18 * 60))
def test_late_events_are_those_of_the_definition(
    timestamps: list[int], arrived: int, allowed: int, minutes: int
) -> None:
    some = batch(*timestamps)
    on_time, lost = split_late(some, arrived, allowed, support.clock(minutes * 60))

    def is_late(timestamp: int) -> bool:
        same_hour = [t for t in range(timestamp, timestamp + 3601, 60) if oracle.hour(t + 86400, minutes) == label]
        label_ends = same_hour[-1] // 60 * 60 + 60
        return arrived > label_ends + allowed

    wanted = []
    for row in support.batch_rows(some):
        label = oracle.hour(row[2] + 86400, minutes)
        wanted.append(is_late(row[2]))
    rows = support.batch_rows(some)
    raws = [tuple(json.loads(reject.raw).values()) for reject in lost]
    assert raws == [row for row, late in zip(rows, wanted, strict=True) if late]
    assert support.batch_rows(on_time) == [row for row, late in zip(rows, wanted, strict=True) if not late]


def test_a_broken_source_is_one_reject() -> None:
    block = BrokenBlock("file", "file: cut off", 7)
    decoded = block.decode(True, None)
    assert (decoded.read, decoded.rejected, block.arrived, block.nbytes) == (1, 1, 7, 13)
    assert decoded.rejects == (Reject("file", 0, None, "file: cut off", ""),)


CAME = 1617393003


@pytest.mark.parametrize(
    ("timestamp", "most", "refused"),
    [(CAME + 60, 60, False), (CAME + 61, 60, True), (CAME, 0, False), (CAME + 1, 0, True), (0, 0, False)],
)
def test_an_event_is_refused_when_it_is_too_far_ahead(timestamp: int, most: int, refused: bool) -> None:
    kept = reject_future_events(batch(timestamp), Block(b"", arrived=CAME), most)
    assert (kept.timestamps.tolist(), kept.rejected, len(kept.rejects)) == (
        ([], 1, 1) if refused else ([timestamp], 0, 0)
    )
    assert kept.read == 1


def test_who_does_not_know_when_it_came_refuses_nothing() -> None:
    some = batch(2**37)
    assert reject_future_events(some, Block(b""), 0) is some


def test_a_refused_event_is_kept_with_the_reason_beside_other_rejects() -> None:
    lines = support.line("a", timestamp=CAME) + b"\n{}\n" + support.line("b", timestamp=CAME + 90) + b"\n"
    block = Block(lines, source="file", arrived=CAME, offset=7)
    kept = reject_future_events(block.decode(True, None), block, 60)
    assert support.batch_rows(kept) == [("a", "impressions", CAME)]
    assert (kept.read, kept.rejected) == (3, 2)
    _, reject = kept.rejects
    assert json.loads(reject.raw) == support.event("b", timestamp=CAME + 90)
    assert str(reject) == "file: byte 7: timestamp is 90 s ahead of its file or message"
