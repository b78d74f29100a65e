"""Unique ids: split by hash and packed to be shuffled as a few large values, then merged to sorted sets.

The order of ids is by (64-bit hash, bytes): the same for every run, split and number of partitions.
"""

import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from pipeline.model.events import Ids, batch_events
from pipeline.native.loader import call, works

PARTITIONS = 128
"""Ids are shuffled in so many partitions, by the first bits of their hash: of 10 M ids, 64 would outgrow the cache."""

MAX_PARTITIONS = 65536

_PARTITION_BYTES = 256 * 1024 * 1024  # of input: some 60 MB of ids to be merged at a time, if all are different

SMALL_SET = 2000
"""Ids up to which plain Python is faster than loading compiled code."""

SMALL_MERGE = 20 * SMALL_SET
"""Packed bytes up to which plain Python merges them."""

_FRAME = struct.Struct("<QQ")  # before the packed ids of a piece: how many came, bytes of the packed ones

_K1, _K2, _MASK = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 2**64 - 1


def hash_id(data: bytes) -> int:
    """A 64-bit hash of an id, the same on every machine. Compiled in `native/id_sets.py`."""
    h = (len(data) * _K1) & _MASK
    for k in range(0, len(data), 8):
        h = ((h ^ int.from_bytes(data[k : k + 8], "little")) * _K2) & _MASK
        h ^= h >> 29
    h = ((h ^ (h >> 32)) * _K1) & _MASK
    return h ^ (h >> 32)


def partitions_for(input_bytes: int) -> int:
    """How many partitions keep each small enough to be merged in memory: a power of two."""
    needed = -(-input_bytes // _PARTITION_BYTES)
    return min(max(PARTITIONS, 1 << max(needed - 1, 0).bit_length()), MAX_PARTITIONS)


def partition(ids: Ids, partitions: int = PARTITIONS) -> Iterator[tuple[int, bytes]]:
    """Ids as (partition, packed ids), ascending, without empty partitions; most repeated ids are left out.

    partitions: a power of two from 2 to MAX_PARTITIONS.
    """
    return ((number, packed) for number, _, packed in _parts(ids, partitions))


def counted_pieces(ids: Ids, partitions: int = PARTITIONS) -> Iterator[tuple[int, bytes]]:
    """As partition, but pieces say how many ids came to them, so that in the end none is missing; see merge_pieces."""
    return ((number, _FRAME.pack(came, len(packed)) + packed) for number, came, packed in _parts(ids, partitions))


def counted_piece(ids: Ids, came: int) -> bytes:
    """All ids as one piece. came: how many ids they were before some were left out."""
    packed = distinct(ids)
    return _FRAME.pack(came, len(packed)) + packed


def merge_pieces(data: bytes) -> tuple[Ids, int]:
    """The different ids of a partition's counted pieces, joined, as merge has them; and how many came to these."""
    return merge(b"".join(packed for _, packed in _frames(data))), ids_came(data)


def ids_came(data: bytes) -> int:
    """How many ids came to counted pieces, joined."""
    return sum(came for came, _ in _frames(data))


def _frames(data: bytes) -> Iterator[tuple[int, memoryview]]:
    view, at = memoryview(data), 0
    while at < len(data):
        came, size = _FRAME.unpack_from(data, at)
        at += _FRAME.size + size
        yield came, view[at - size : at]


def _parts(ids: Ids, partitions: int) -> Iterator[tuple[int, int, bytes]]:
    """Partitions with how many ids came to them, and those packed, most of them once."""
    shift = 65 - partitions.bit_length()
    if len(ids.ends) <= SMALL_SET or not works("mark_ids"):
        items = ids.to_list()
        numbers = {item: hash_id(item) >> shift for item in items}
        came = Counter(numbers[item] for item in items)
        parts: dict[int, list[bytes]] = {}
        for item, number in numbers.items():
            parts.setdefault(number, []).append(item)
        return ((number, came[number], pack(parts[number])) for number in sorted(parts))
    return _partition_compiled(ids, shift)


def _partition_compiled(ids: Ids, shift: int) -> Iterator[tuple[int, int, bytes]]:
    count, size, ends, data = len(ids.ends), len(ids.data), ids.ends, ids.data
    mask = (1 << count.bit_length() + 1) - 1
    hashes, table = np.empty(count, np.uint64), np.zeros(mask + 1, np.int64)
    kept, sizes = np.empty(count, np.uint8), np.zeros(1 << 64 - shift, np.int64)
    call("mark_ids", data, size, ends, count, shift, hashes, table, mask, kept, sizes)
    came = np.bincount((hashes >> np.uint64(shift)).view(np.int64), minlength=len(sizes)).tolist()
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    packed = np.empty(bounds[-1], np.uint8)
    call("place_ids", data, size, ends, count, shift, hashes, kept, bounds[:-1].copy(), packed)
    for number, (start, stop) in enumerate(pairwise(bounds.tolist())):
        if start < stop:
            yield number, came[number], packed[start:stop].tobytes()


def distinct(ids: Ids) -> bytes:
    """The ids packed; most repeated ones are left out."""
    return b"".join(piece for _, piece in partition(ids))


def merge(packed: bytes) -> Ids:
    """The different ids among packed ids, in the order of (hash, bytes)."""
    if len(packed) > SMALL_MERGE and works("find_ids"):
        merged = _merge_compiled(packed)
        if merged:
            return merged
    keyed = sorted((hash_id(item), item) for item in set(unpack(packed)))
    return Ids.of(item for _, item in keyed)


def _merge_compiled(packed: bytes) -> Ids | None:
    """As merge, or None where different ids have the same hash: one pair in 10**19, or somebody's intent."""
    data, size = np.frombuffer(packed, np.uint8), len(packed)
    starts, stops, hashes = (np.empty(size // 2, np.int64) for _ in range(3))
    count = call("find_ids", data, size, starts, stops, hashes)
    order = np.argsort(hashes[:count].view(np.uint64))
    ends, out = np.empty(count, np.int64), np.empty(size - count, np.uint8)
    left = call("gather_ids", data, size, starts, stops, hashes, order, count, ends, out, len(out))
    return Ids(ends[:left], out[: ends[left - 1]]) if left >= 0 else None


def pack(items: Iterable[bytes]) -> bytes:
    """Ids as bytes that can be joined: the length of each as a varint (7 bits a byte, the lowest first), its bytes."""
    return b"".join(_varint(len(item)) + item for item in items)


def _varint(number: int) -> bytes:
    rest = bytearray()
    while number > 127:
        rest.append(number & 127 | 128)
        number >>= 7
    return bytes([*rest, number])


def unpack(packed: bytes) -> Iterator[bytes]:
    """The inverse of `pack`."""
    at = 0
    while at < len(packed):
        length = bits = 0
        while packed[at] > 127:
            length |= (packed[at] & 127) << bits
            bits += 7
            at += 1
        start = at + 1
        at = start + (length | packed[at] << bits)
        yield packed[start:at]


def id_lines(ids: Ids) -> bytes:
    """Ids one a line, UTF-8. One that holds a line break or begins with a quote is written as a JSON string.

    So each stays on one line, and a line that begins with a quote is a JSON string, any other the id itself.
    """
    if len(ids.ends) > SMALL_SET and works("join_lines"):
        lines = np.empty(len(ids.data) + len(ids.ends), np.uint8)
        if not call("join_lines", ids.data, len(ids.data), ids.ends, len(ids.ends), lines, len(lines)):
            return lines.tobytes()
    return b"".join(_line(item) for item in ids.to_list())


def _line(item: bytes) -> bytes:
    import json

    quoted = item.startswith(b'"') or b"\n" in item or b"\r" in item
    return (json.dumps(item.decode()).encode() if quoted else item) + b"\n"


def unique_ids(events: Iterable[Any]) -> list[str]:
    """Events (dicts with id, event, timestamp) -> each id once; EventError names the first that is not valid."""
    return [item.decode() for item in merge(distinct(batch_events(events).ids)).to_list()]
