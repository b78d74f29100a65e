"""Ids and batches: packed columns against plain lists, and what is no event."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.events import NO_IDS, Batch, Ids, Reject, batch_events
from pipeline.schema import Event
from tests import support
from tests.support import EXAMPLE_EVENTS

IDS = st.lists(st.binary(max_size=5), max_size=8)


@given(IDS, st.data())
def test_ids_are_a_list_of_bytes(items: list[bytes], data: st.DataObject) -> None:
    ids = Ids.of(items)
    assert ids.to_list() == items
    assert ids.nbytes == 8 * len(items) + sum(map(len, items))
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(items))] * 2)))
    assert ids.slice(start, stop).to_list() == items[start:stop]
    mask = data.draw(st.lists(st.booleans(), min_size=len(items), max_size=len(items)))
    assert ids.select(np.array(mask, bool)).to_list() == [item for item, kept in zip(items, mask, strict=True) if kept]
    order = data.draw(st.lists(st.integers(0, len(items) - 1), max_size=9)) if items else []
    assert ids.take(np.array(order, np.int64)).to_list() == [items[place] for place in order]


def test_many_ids_are_taken_as_few_are() -> None:
    items = [b"%d" % (7**number % 1000) for number in range(20_001)]
    order = np.arange(len(items))[::-1]
    for name in support.DECODERS:
        with support.decoder(name):
            assert Ids.of(items).take(order).to_list() == items[::-1]


@given(st.lists(IDS, max_size=4))
def test_parts_of_ids_are_joined_in_order(parts: list[list[bytes]]) -> None:
    assert Ids.concat([Ids.of(part) for part in parts]).to_list() == [item for part in parts for item in part]


def test_batches_are_joined_with_all_that_they_account_for() -> None:
    rejects = [Reject("s", 5, None, "not JSON", "x"), Reject("t", None, 7, "no event", "{}")]
    first = Batch(*_columns(EXAMPLE_EVENTS[:2]), (rejects[0],), rejected=3, duplicate=1, read=6, coverage_delta=10)
    second = Batch(*_columns(EXAMPLE_EVENTS[2:]), (rejects[1],), rejected=1, duplicate=2, read=7, coverage_delta=-4)
    joined = Batch.concat([first, second])
    assert support.batch_rows(joined) == support.batch_rows(batch_events(EXAMPLE_EVENTS))
    assert joined.rejects == tuple(rejects)
    assert (joined.rejected, joined.duplicate, joined.read, joined.coverage_delta) == (4, 3, 13, 6)


def _columns(events: list[dict[str, Any]]) -> tuple[Any, Any, Ids]:
    batch = batch_events(events)
    return batch.codes, batch.timestamps, batch.ids


@pytest.mark.parametrize("want_ids", [True, False])
def test_events_are_selected_with_their_ids(want_ids: bool) -> None:
    batch = Batch.of([Event(name, 2, timestamp) for timestamp, name in enumerate("abc")], want_ids)
    chosen = batch.select(np.array([True, False, True]))
    assert chosen.timestamps.tolist() == [0, 2]
    assert chosen.codes.tolist() == [2, 2]
    assert chosen.ids.to_list() == ([b"a", b"c"] if want_ids else NO_IDS.to_list())


@pytest.mark.parametrize(
    ("reject", "text"),
    [
        (Reject("s", 5, None, "not JSON", "x"), "s: byte 5: not JSON"),
        (Reject("s", 5, 2, "not JSON", "x"), "s: byte 5: not JSON"),
        (Reject("s", None, 2, "no id", "x"), "s: row 2: no id"),
        (Reject("s", None, None, "is gone", ""), "s: is gone"),
    ],
)
def test_a_reject_as_text(reject: Reject, text: str) -> None:
    assert str(reject) == text
