"""Sets of ids, compiled: ids kept once, tables of packed ids, and different ids of the same hash."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.events import Ids
from pipeline.model.ids import _FRAME, hash_id, marked, pack, unpack
from pipeline.native.loader import PROBES, SOME, invoke
from tests.model.test_ids import with_one_hash

ITEMS = st.lists(
    st.binary(min_size=1, max_size=20) | st.sampled_from((b"a", b"b", b"c" * 127, b"d" * 128, b"e" * 20_000))
)


def pieces(items: list[bytes], some: int) -> bytes:
    """Packed, so many to a piece."""
    parts = [items[k : k + some] for k in range(0, len(items), some)]
    return b"".join(_FRAME.pack(len(part), len(pack(part))) + pack(part) for part in parts)


class Table:
    """What add_ids works on."""

    def __init__(self, bits: int) -> None:
        self.bits, self.state = bits, np.zeros(5, np.int64)
        self.slots = np.zeros(((1 << bits) + PROBES, 2), np.int64)
        self.some = np.empty(4 * SOME, np.int64)

    def add(self, data: bytes, aside: Any = 0) -> bool:
        packed = np.frombuffer(data, np.uint8)
        return bool(invoke("add_ids", packed, len(packed), self.state, self.slots, 0, self.bits, self.some, aside))

    def move(self, bits: int) -> bool:
        narrow, self.slots, self.bits = self.slots, np.zeros(((1 << bits) + PROBES, 2), np.int64), bits
        return bool(invoke("move_ids", narrow, len(narrow), self.slots, 0, bits))

    def gather(self, data: bytes) -> list[bytes]:
        _, _, _, count, size = self.state.tolist()
        ends, out, packed = np.empty(count, np.int64), np.empty(size, np.uint8), np.frombuffer(data, np.uint8)
        found = invoke("gather_ids", packed, self.slots, len(self.slots), ends, out)
        return Ids(ends, out[:found]).to_list()


@given(ITEMS, st.integers(1, 5))
def test_a_table_has_each_id_once_in_order(items: list[bytes], some: int) -> None:
    table, data = Table(8), pieces(items, some)
    assert table.add(data)
    assert table.state.tolist() == [len(data), len(data), len(items), len(set(items)), len(pack(set(items)))]
    assert table.gather(data) == sorted(set(items), key=lambda item: (hash_id(item), item))


def test_a_full_table_goes_on_in_a_wider_one() -> None:
    items = [b"id-%d" % k for k in range(1000)]
    table, data, widths = Table(1), pieces(items * 2, 70), []
    while not table.add(data):
        while not table.move(table.bits + 1):
            pass
        widths.append(table.bits)
    assert len(widths) > 5
    assert table.state.tolist() == [len(data), len(data), 2000, 1000, len(pack(items))]
    assert table.gather(data) == sorted(items, key=hash_id)


def test_different_ids_of_one_hash_are_ordered_by_their_bytes() -> None:
    items = [b"a", *reversed(with_one_hash(PROBES))]
    table, data = Table(8), pieces(items, 3)
    assert table.add(data)
    assert table.gather(data) == sorted(items, key=lambda item: (hash_id(item), item))


def test_a_full_table_puts_ids_aside() -> None:
    items = [*with_one_hash(PROBES + 2), b"a"]
    table, data, aside = Table(8), pieces(items * 2, 7), np.zeros(100, np.int64)
    assert table.add(data, aside)
    assert [next(unpack(data[place:])) for place in aside[1 : aside[0] + 1]] == items[PROBES : PROBES + 2] * 2
    assert set(table.gather(data)) == {*items[:PROBES], b"a"}
    assert table.state[2] == 2 * len(items)


def test_ids_of_one_hash_fill_no_table() -> None:
    table, data = Table(10), pieces(with_one_hash(PROBES + 1), 100)
    assert not table.add(data)
    assert Table(20).add(pieces(with_one_hash(PROBES), 100))
    assert not table.add(data)


def kept(items: list[bytes]) -> list[bytes]:
    ids, count = Ids.of(items), len(items)
    hashes, marks, frames = marked(ids, 64)
    assert hashes.tolist() == [hash_id(item) for item in items]
    chosen = [item for item, mark in zip(items, marks, strict=True) if mark]
    assert frames.tolist() == [[count, len(pack(chosen))]]
    return chosen


@given(ITEMS)
def test_each_id_is_kept_once(items: list[bytes]) -> None:
    assert kept(items) == list(dict.fromkeys(items))


def test_many_ids_of_one_hash_lose_none() -> None:
    items = with_one_hash(200)
    assert set(kept(items * 2)) == set(items)


@given(ITEMS)
def test_packed_ids(items: list[bytes]) -> None:
    ids = Ids.of(items)
    out = np.empty(len(ids.data) + 6 * len(items), np.uint8)
    assert out[: invoke("pack_ids", ids.data, ids.ends, len(items), out)].tobytes() == pack(items)


@given(ITEMS, st.data())
def test_ids_are_copied_in_any_order(items: list[bytes], data: st.DataObject) -> None:
    ids = Ids.of(items)
    order = data.draw(st.lists(st.integers(0, len(items) - 1), max_size=9)) if items else []
    wanted = b"".join(items[place] for place in order)
    out = np.empty(len(wanted), np.uint8)
    assert invoke("take_ids", ids.data, ids.ends, np.array(order, np.int64), len(order), out) == len(wanted)
    assert out.tobytes() == wanted


def special(items: list[bytes]) -> bool:
    ids, size = Ids.of(items), sum(map(len, items))
    out = np.empty(size + len(items), np.uint8)
    answer = invoke("join_lines", ids.data, size, ids.ends, len(items), out)
    assert out.tobytes() == b"".join(item + b"\n" for item in items)
    return bool(answer)


def test_lines_that_cannot_be_read_back_are_told() -> None:
    assert not special([b"a", b'b"', b"\xe2\x80\xa8"])
    assert all(special([b"a", item, b"b"]) for item in (b'"', b'"a', b"a\n", b"\r"))
    assert not special([b"c" * 200])
    assert all(special([b"c" * k + line_break + b"c" * (150 - k)]) for k in range(150) for line_break in (b"\n", b"\r"))
