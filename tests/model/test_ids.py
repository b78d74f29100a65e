"""Unique ids, in all and per hour, as plain functions, with the compiled and the plain implementation."""

import json
from collections.abc import Callable, Iterable, Iterator
from random import Random
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import ids as id_sets
from pipeline.model.events import NO_IDS, Batch, Ids
from pipeline.model.ids import hash_id, id_lines, ids_by_hour, merge_packed, pack_partitions, union, unique_ids
from pipeline.native.loader import MAX_PROBES
from pipeline.schema import Event
from tests import oracle, support
from tests.support import EXAMPLE_EVENTS, event

ITEMS = st.lists(st.binary(min_size=1, max_size=20) | st.sampled_from((b"a", b"b", b"a" * 8, b"a" * 9, b"\0", b"\0\0")))


@pytest.fixture(params=support.DECODERS)
def _implementation(request: pytest.FixtureRequest) -> Iterator[None]:
    with support.decoder(request.param):
        yield


both = pytest.mark.usefixtures("_implementation")


def whole(parts: list[Ids], partitions: int = 64) -> list[bytes]:
    """The ids of several workers, through partitions and merge, in the order of the ids file; none is lost."""
    pieces: dict[int, list[bytes]] = {}
    for part in parts:
        for number, piece in pack_partitions(part, partitions):
            pieces.setdefault(number, []).append(piece)
    joined = [union([*pieces[number], b""]) for number in sorted(pieces)]
    merged = [merge_packed(b"".join(pieces[number])) for number in sorted(pieces)]
    assert [merge_packed(data)[1] for data in joined] == [events for _, events in merged]
    assert sum(events for _, events in merged) == sum(len(part.ends) for part in parts)
    return [item for ids, _ in merged for item in ids.to_list()]


def in_order(items: Iterable[bytes]) -> list[bytes]:
    return sorted(set(items), key=lambda item: (hash_id(item), item))


def with_one_hash(count: int) -> list[bytes]:
    """Different ids of the same hash: the second word undoes what the first one did."""
    first = [(b"%08d" % k) for k in range(count)]
    states = []
    for word in first:
        state = ((16 * id_sets._K1 ^ int.from_bytes(word, "little")) * id_sets._K2) & id_sets._MASK
        states.append(state ^ (state >> 29))
    return [word + (state ^ 12345).to_bytes(8, "little") for word, state in zip(first, states, strict=True)]


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


@both
def test_many_ids_in_any_order() -> None:
    events = [event(f"id-{k % 3000}") for k in range(9000)]
    ordered = unique_ids(events)
    assert [item.encode() for item in ordered] == in_order(b"id-%d" % k for k in range(3000))
    Random(1).shuffle(events)
    assert unique_ids(events) == ordered


def test_the_hash_of_known_ids_never_changes() -> None:
    """The order of the ids file depends on it."""
    known = {b"a": hash_id(b"a"), b"c8e3-ace6-4852-a32f": hash_id(b"c8e3-ace6-4852-a32f")}
    assert known == {b"a": 0x4BD82ED99271E69F, b"c8e3-ace6-4852-a32f": 0xFA6F2593BF8F39D4}


@settings(max_examples=300)
@given(
    ITEMS, st.integers(1, 5), st.integers(0, 8), st.sampled_from(support.DECODERS), st.randoms(use_true_random=False)
)
def test_any_split_and_number_of_partitions_gives_the_same_list(
    items: list[bytes], workers: int, bits: int, name: str, random: Random
) -> None:
    wanted = in_order(items)
    random.shuffle(items)
    parts = [Ids.of(items[k::workers]) for k in range(workers)]
    with support.decoder(name):
        assert whole(parts, 2**bits) == wanted


@both
@pytest.mark.parametrize("length", [1, 7, 8, 255, 256, 257, 70000])
def test_ids_of_any_length(length: int) -> None:
    items = [bytes([65 + k]) * length for k in range(3)]
    assert whole([Ids.of(items), Ids.of(items * 2)]) == in_order(items)


@both
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("count", [2, MAX_PROBES, MAX_PROBES + 1, 200])
def test_different_ids_of_the_same_hash_are_kept(count: int, workers: int) -> None:
    items = [*reversed(with_one_hash(count)), b"a", b"b", b"a"]
    assert len({hash_id(item) for item in items[:count]}) == 1
    assert whole([Ids.of(items[k::workers]) for k in range(workers)]) == in_order(items)


@pytest.mark.parametrize("count", [2, 40, 300])
def test_a_few_crafted_ids_do_not_slow_down_all_others(count: int) -> None:
    """Plain Python, which takes 7 times as long, hashes the crafted ones alone."""
    items = [*with_one_hash(count), *(b"id-%d" % k for k in range(50_000))]
    Random(7).shuffle(items)
    pieces = list(pack_partitions(Ids.of(items), 1)) * 2
    data = b"".join(piece for _, piece in pieces)
    with support.decoder("compiled"), mock.patch.object(id_sets, "hash_id", side_effect=hash_id) as hashed:
        merged, events = merge_packed(data)
    assert hashed.call_count <= count
    assert (merged.to_list(), events) == (in_order(items), 2 * len(items))


@pytest.mark.parametrize("kept", [lambda h: h % 64, lambda h: not h % 64, lambda h: True])
def test_ids_whose_number_is_estimated_wrong_are_merged_as_fast(kept: Callable[[int], bool]) -> None:
    """The table is sized by the distinct ids among every 64th hash; a crafted input may have none or all of these."""
    items = [item for k in range(120_000) if kept(hash_id(item := b"id-%d" % k))]
    with support.decoder("compiled"), mock.patch.object(id_sets, "_merge_overflow", side_effect=AssertionError):
        merged = whole([Ids.of(items), Ids.of(items[::-1] * 3)], 1)
    assert merged == in_order(items)


def test_an_id_that_comes_again_is_shuffled_once() -> None:
    pieces = [piece for _, piece in pack_partitions(Ids.of([b"id-%d" % (k % 5000) for k in range(50_000)]))]
    assert sum(map(len, pieces)) < 128 * 32 + sum(1 + len(b"id-%d" % k) for k in range(5000))


def test_ids_are_in_the_partition_of_their_first_bits() -> None:
    items, bits = [b"id-%d" % k for k in range(5000)], id_sets.DEFAULT_PARTITIONS.bit_length() - 1
    for name in support.DECODERS:
        with support.decoder(name):
            pieces = pack_partitions(Ids.of(items))
            found = {number: sorted(merge_packed(piece)[0].to_list()) for number, piece in pieces}
        assert found == {k: sorted(i for i in items if hash_id(i) >> 64 - bits == k) for k in range(1 << bits)}


def test_lines_of_no_ids() -> None:
    assert id_lines(NO_IDS) == b""
    assert list(pack_partitions(NO_IDS)) == []


IDS = st.text(min_size=1) | st.text(st.sampled_from('"\\a\n\r\u2028'), min_size=1, max_size=4)


@given(st.lists(IDS), st.sampled_from(support.DECODERS))
def test_lines(items: list[str], name: str) -> None:
    with support.decoder(name):
        lines = id_lines(Ids.of(item.encode() for item in items)).decode()
    assert lines == "".join(map(oracle.id_line, items))
    assert oracle.ids_of_lines(lines.encode()) == items


@both
@pytest.mark.parametrize("item", ["a\nb", "a\rb", "\n", "\r\n", "é\n", '"\n', '"', '"a"', '"é', '"\\'])
def test_an_id_with_a_line_break_or_a_first_quote_is_a_json_string(item: str) -> None:
    lines = id_lines(Ids.of([b"x", item.encode(), b"y"])).decode()
    assert lines.count("\n") == 3
    first, middle, last, rest = lines.split("\n")
    assert (first, json.loads(middle), last, rest) == ("x", item, "y", "")


def test_partitions_grow_with_the_input() -> None:
    sizes = {0: 128, 2**30: 128, 32 * 2**30: 128, 32 * 2**30 + 1: 256, 2**40: 4096, 2**60: 65536}
    assert {size: id_sets.partitions_for(size) for size in sizes} == sizes


FAR = st.integers(65_534, 65_538).map(lambda hours: hours * 3600)  # about 2**16 hours: numbers of 16 bits end there


TIMES = st.integers(0, 20_000) | FAR


EVENTS = st.lists(st.tuples(st.sampled_from(["a", "b", "é", "c\n", "d" * 200]), TIMES), max_size=30)


OFFSETS = st.sampled_from([3600, 0, 19800, -12600])


def batch(events: list[tuple[str, int]]) -> Batch:
    return Batch.of([Event(name, 0, timestamp) for name, timestamp in events])


def ids_of(piece: bytes) -> set[bytes]:
    """The ids of a piece, which has each once."""
    ids = merge_packed(piece)[0].to_list()
    assert len(ids) == len(set(ids))
    return set(ids)


@given(EVENTS, OFFSETS)
def test_ids_by_hour(events: list[tuple[str, int]], offset: int) -> None:
    wanted: dict[int, set[bytes]] = {}
    for name, timestamp in events:
        hour = (timestamp + offset) // 3600 * 3600 - offset
        wanted.setdefault(hour, set()).add(name.encode())
    found = list(ids_by_hour(batch(events), support.clock(offset)))
    assert [hour for (hour, _), _ in found] == sorted(wanted)
    assert {hour: ids_of(piece) for (hour, _), piece in found} == wanted
    assert sum(merge_packed(piece)[1] for _, piece in found) == len(events)


def test_ids_by_hour_of_many_events() -> None:
    events = [(f"id-{k % 5000}", k) for k in range(20_000)]
    found = {hour: ids_of(piece) for (hour, _), piece in ids_by_hour(batch(events), support.clock(0))}
    assert found == {
        h * 3600: {f"id-{k % 5000}".encode() for k in range(h * 3600, min(h * 3600 + 3600, 20_000))} for h in range(6)
    }


@given(st.lists(EVENTS, max_size=4))
def test_the_union_of_sets(parts: list[list[tuple[str, int]]]) -> None:
    pieces = [piece for part in parts for _, piece in ids_by_hour(batch(part), support.clock(0))]
    assert ids_of(union(pieces)) == {name.encode() for part in parts for name, _ in part}
    assert merge_packed(union(pieces))[1] == sum(map(len, parts))
