"""Sets of ids, compiled: spans and hashes of packed ids, ids kept once, and different ids of the same hash."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.events import Ids
from pipeline.model.ids import hash_id, pack
from pipeline.native.loader import call
from tests.model.test_ids import with_one_hash

ITEMS = st.lists(
    st.binary(min_size=1, max_size=20) | st.sampled_from((b"a", b"b", b"c" * 127, b"d" * 128, b"e" * 20_000))
)


def found(items: list[bytes]) -> tuple[list[bytes], list[int], tuple[np.ndarray, ...]]:
    packed = np.frombuffer(pack(items), np.uint8)
    arrays = tuple(np.empty(len(packed) + 1, np.int64) for _ in range(3))
    count = call("find_ids", packed, len(packed), *arrays)
    starts, stops, hashes = (array[:count] for array in arrays)
    return [packed[a:b].tobytes() for a, b in zip(starts, stops, strict=True)], hashes.view(np.uint64).tolist(), arrays


@given(ITEMS)
def test_packed_ids_and_their_hashes(items: list[bytes]) -> None:
    spans, hashes, _ = found(items)
    assert spans == items
    assert hashes == [hash_id(item) for item in items]


def kept(items: list[bytes]) -> list[bytes]:
    ids, count = Ids.of(items), len(items)
    mask = (1 << count.bit_length() + 1) - 1
    hashes, table = np.empty(count, np.uint64), np.zeros(mask + 1, np.int64)
    marks, sizes = np.empty(count, np.uint8), np.zeros(2, np.int64)
    call("mark_ids", ids.data, len(ids.data), ids.ends, count, 63, hashes, table, mask, marks, sizes)
    chosen = [item for item, mark in zip(items, marks, strict=True) if mark]
    assert sizes.sum() == len(pack(chosen))
    return chosen


@given(ITEMS)
def test_each_id_is_kept_once(items: list[bytes]) -> None:
    assert kept(items) == list(dict.fromkeys(items))


def test_many_ids_of_one_hash_lose_none() -> None:
    items = with_one_hash(200)
    assert set(kept(items * 2)) == set(items)


def gathered(items: list[bytes]) -> int:
    packed, (_, _, (starts, stops, hashes)) = pack(items), found(items)
    order = np.argsort(hashes[: len(items)].view(np.uint64))
    ends, out = np.empty(len(items), np.int64), np.empty(len(packed) + 8, np.uint8)
    data = np.frombuffer(packed, np.uint8)
    return call("gather_ids", data, len(data), starts, stops, hashes, order, len(items), ends, out, len(out))


def test_different_ids_of_one_hash_are_told() -> None:
    assert gathered([b"a", b"b", b"a", b"b", b"b"]) == 2
    assert gathered([b"a", *with_one_hash(2)]) == -1


def special(items: list[bytes]) -> bool:
    ids, size = Ids.of(items), sum(map(len, items))
    out = np.empty(size + len(items), np.uint8)
    answer = call("join_lines", ids.data, size, ids.ends, len(items), out, len(out))
    assert out.tobytes() == b"".join(item + b"\n" for item in items)
    return bool(answer)


def test_lines_that_cannot_be_read_back_are_told() -> None:
    assert not special([b"a", b'b"', b"\xe2\x80\xa8"])
    assert all(special([b"a", item, b"b"]) for item in (b'"', b'"a', b"a\n", b"\r"))
