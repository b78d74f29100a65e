"""Duplicates: plain functions against a set of Python's."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import Batch
from pipeline.model import duplicates
from pipeline.model.duplicates import (
    decode_keys,
    encode_keys,
    merge_disjoint,
    merge_events,
    partition_events,
    split_keys_by_hour,
    unseen,
)
from pipeline.schema import Event
from tests import oracle, support
from tests.documents import NEAR_DUPLICATES as EVENTS
from tests.documents import Events


@pytest.fixture(params=support.DECODERS)
def _implementation(request: pytest.FixtureRequest) -> Iterator[None]:
    with support.decoder(request.param):
        yield


both = pytest.mark.usefixtures("_implementation")


def batch_of(events: Events) -> Batch:
    return Batch.of(Event(name, oracle.EVENTS.index(kind), timestamp) for name, kind, timestamp in events)


@given(EVENTS)
def test_keys_and_back(events: Events) -> None:
    batch = batch_of(events)
    keys = encode_keys(batch)
    assert support.batch_rows(decode_keys(keys)) == events
    assert len(set(keys.to_list())) == len(set(events))


@both
@settings(max_examples=50)
@given(st.lists(EVENTS, max_size=4))
def test_any_batches_give_the_set_and_account_for_each_record(parts: list[Events]) -> None:
    stayed, pieces = [], {}
    for part in parts:
        stays, keyed = partition_events(dataclasses.replace(batch_of(part), rejected=2, read=len(part) + 2))
        stayed.append(stays)
        for number, packed in keyed:
            pieces.setdefault(number, []).append(packed)
    batches = [*stayed, *(merge_events(b"".join(packed)) for packed in pieces.values())]
    events = [item for part in parts for item in part]
    assert sorted(row for batch in batches for row in support.batch_rows(batch)) == sorted(set(events))
    assert sum(batch.duplicate for batch in batches) == len(events) - len(set(events))
    assert sum(batch.read for batch in batches) == len(events) + 2 * len(parts)
    assert Batch.concat([batch_of([]), *batches]).read == len(events) + 2 * len(parts)


@both
@settings(max_examples=50)
@given(st.lists(EVENTS, max_size=6), st.sampled_from((0, 3600, 19800)), st.integers(1, 3))
def test_any_stream_gives_the_set(parts: list[Events], offset: int, most_sets: int) -> None:
    state: dict[Any, list[duplicates.KeySet]] = {}
    passed: Events = []
    for part in parts:
        for place, piece in split_keys_by_hour(batch_of(part), support.clock(offset)):
            assert {
                (t + offset) // 3600 * 3600 - offset for *_, t in support.batch_rows(decode_keys(piece.keys()))
            } == {place[0]}
            sets = state.setdefault(place, [])
            new = unseen(piece, sets)
            state[place] = [merge_disjoint([*sets, new])] if len(sets) >= most_sets else [*sets, new]
            found = support.batch_rows(decode_keys(new.keys()))
            assert new.size == len(found)
            passed += found
    assert sorted(passed) == sorted({item for part in parts for item in part})


def test_events_of_the_same_hash_are_not_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.model.ids.hash_id", lambda _: 7 << 60)
    parts = [batch_of([(name, "video_25", 0) for name in names]) for names in ("ab", "cbd")]
    first, second = (list(split_keys_by_hour(part, support.clock())) for part in parts)
    assert support.batch_rows(decode_keys(unseen(second[0][1], [first[0][1]]).keys())) == [
        ("c", "video_25", 0),
        ("d", "video_25", 0),
    ]
