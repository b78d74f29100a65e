"""Unique ids, as plain functions, with the compiled and the plain implementation."""

import json
from collections.abc import Iterator
from random import Random
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import hashing
from pipeline import ids as id_sets
from pipeline.errors import EventError
from pipeline.events import NO_IDS, Ids
from pipeline.ids import distinct, hash_id, id_lines, merge, pack, partition, unique_ids, unpack
from tests.support import EXAMPLE_EVENTS, event

ITEMS = st.lists(st.binary(min_size=1, max_size=20) | st.sampled_from((b"a", b"b", b"a" * 8, b"a" * 9, b"\0", b"\0\0")))


@pytest.fixture(params=[0, 1 << 60], ids=["compiled", "plain"])
def _implementation(request: pytest.FixtureRequest) -> Iterator[None]:
    with mock.patch.object(id_sets, "SMALL_SET", request.param):
        yield


both = pytest.mark.usefixtures("_implementation")


def whole(parts: list[Ids]) -> list[bytes]:
    """The ids of several workers, through partitions and merge, in the order of the ids file."""
    pieces: dict[int, list[bytes]] = {}
    for part in parts:
        for number, packed in partition(part):
            pieces.setdefault(number, []).append(packed)
    return [item for number in sorted(pieces) for item in merge(pieces[number]).to_list()]


def test_each_id_once() -> None:
    assert sorted(unique_ids([*EXAMPLE_EVENTS, *EXAMPLE_EVENTS])) == sorted(item["id"] for item in EXAMPLE_EVENTS)
    assert unique_ids([]) == []
    assert set(unique_ids([event("é"), event("e\u0301"), event("E"), event("e"), event("e ")])) == {
        "é",
        "e\u0301",
        "E",
        "e",
        "e ",
    }


def test_what_is_no_event_is_named() -> None:
    with pytest.raises(EventError, match="event 1: id must be a string, not a number"):
        unique_ids([event(), {**event(), "id": 1}])


@both
def test_many_ids_in_any_order() -> None:
    events = [event(f"id-{k % 3000}") for k in range(9000)]
    ordered = unique_ids(events)
    assert len(ordered) == 3000
    assert set(ordered) == {f"id-{k}" for k in range(3000)}
    Random(1).shuffle(events)
    assert unique_ids(events) == ordered


def test_the_implementations_give_the_same_order() -> None:
    events = [event(f"id-{k % 3000}") for k in range(9000)]
    results = []
    for size in (0, 1 << 60):
        with mock.patch.object(id_sets, "SMALL_SET", size):
            results.append(unique_ids(events))
    assert results[0] == results[1]


@settings(max_examples=300)
@given(ITEMS)
def test_compiled_hash_is_the_plain_one(items: list[bytes]) -> None:
    packed = Ids.of(items)
    assert hashing.hash_ids(packed.ends, packed.data).tolist() == [hash_id(item) for item in items]


def test_the_hash_of_known_ids_never_changes() -> None:
    """The order of the ids file depends on it."""
    known = {b"a": hash_id(b"a"), b"c8e3-ace6-4852-a32f": hash_id(b"c8e3-ace6-4852-a32f")}
    assert known == {b"a": 0x4BD82ED99271E69F, b"c8e3-ace6-4852-a32f": 0xFA6F2593BF8F39D4}


@settings(max_examples=200)
@given(ITEMS, st.sampled_from((0, 1 << 60)))
def test_distinct_is_a_set_in_the_order_of_hash_and_bytes(items: list[bytes], small: int) -> None:
    with mock.patch.object(id_sets, "SMALL_SET", small):
        unique, hashes = distinct(Ids.of(items))
    assert unique.to_list() == sorted(set(items), key=lambda item: (hash_id(item), item))
    assert hashes.tolist() == [hash_id(item) for item in unique.to_list()]


@settings(max_examples=200)
@given(ITEMS, st.integers(1, 5), st.integers(0, 8), st.sampled_from((0, 1 << 60)), st.randoms(use_true_random=False))
def test_any_split_and_number_of_partitions_gives_the_same_list(
    items: list[bytes], workers: int, bits: int, small: int, random: Random
) -> None:
    wanted = distinct(Ids.of(items))[0].to_list()
    random.shuffle(items)
    parts = [Ids.of(items[k::workers]) for k in range(workers)]
    with mock.patch.object(id_sets, "SMALL_SET", small), mock.patch.object(id_sets, "PARTITION_BITS", max(bits, 1)):
        assert whole(parts) == wanted


@settings(max_examples=100)
@given(st.lists(st.binary(min_size=1, max_size=4), min_size=1), st.integers(1, 4), st.sampled_from((0, 1 << 60)))
def test_different_ids_of_the_same_hash_are_kept(items: list[bytes], workers: int, small: int) -> None:
    def poor_hash(item: bytes) -> int:
        return (item[0] % 3) << 62

    def poor_hashes(ends: np.ndarray, data: np.ndarray) -> np.ndarray:
        return np.array([poor_hash(item) for item in Ids(ends, data).to_list()], np.uint64)

    with (
        mock.patch.object(id_sets, "SMALL_SET", small),
        mock.patch.object(id_sets, "hash_id", poor_hash),
        mock.patch.object(hashing, "hash_ids", poor_hashes),
    ):
        parts = [Ids.of(items[k::workers]) for k in range(workers)]
        assert whole(parts) == sorted(set(items), key=lambda item: (poor_hash(item), item))


@given(ITEMS)
def test_pack_and_unpack(items: list[bytes]) -> None:
    assert unpack(pack(Ids.of(items))).to_list() == items


@given(st.lists(ITEMS, max_size=4))
def test_concat(parts: list[list[bytes]]) -> None:
    assert Ids.concat([Ids.of(part) for part in parts]).to_list() == [item for part in parts for item in part]


@given(ITEMS, st.data())
def test_slice(items: list[bytes], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(items)))
    stop = data.draw(st.integers(start, len(items)))
    assert Ids.of(items).slice(start, stop).to_list() == items[start:stop]


def test_lines_of_no_ids() -> None:
    assert id_lines(NO_IDS) == b""
    assert list(partition(NO_IDS)) == []


@given(st.lists(st.text(min_size=1)))
def test_lines(items: list[str]) -> None:
    lines = id_lines(Ids.of(item.encode() for item in items)).decode()
    assert lines == "".join((json.dumps(item) if {"\n", "\r"} & set(item) else item) + "\n" for item in items)


@pytest.mark.parametrize("item", ["a\nb", "a\rb", "\n", "\r\n", "é\n", '"\n'])
def test_an_id_with_a_line_break_stays_on_one_line(item: str) -> None:
    lines = id_lines(Ids.of([b"x", item.encode(), b"y"])).decode()
    assert lines.count("\n") == 3
    first, middle, last, rest = lines.split("\n")
    assert (first, json.loads(middle), last, rest) == ("x", item, "y", "")
