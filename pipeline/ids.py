"""Unique ids: sets of ids as sorted packed columns, which merge, split by hash and shuffle as a few large values.

The order of ids is by (64-bit hash, bytes): the same for every run, split and number of partitions.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.events import Ids, batch_events

PARTITION_BITS = 6
"""Ids are shuffled in 2**6 partitions, by the first bits of their hash."""

SMALL_SET = 2000
"""Ids up to which plain Python is faster than loading numba."""

_K1, _K2, _MASK = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 2**64 - 1


def hash_id(data: bytes) -> int:
    """A 64-bit hash of an id, the same on every machine. `hashing.hash_ids` is its compiled twin."""
    h = (len(data) * _K1) & _MASK
    for k in range(0, len(data), 8):
        h = ((h ^ int.from_bytes(data[k : k + 8], "little")) * _K2) & _MASK
        h ^= h >> 29
    h = ((h ^ (h >> 32)) * _K1) & _MASK
    return h ^ (h >> 32)


def distinct(ids: Ids) -> tuple[Ids, npt.NDArray[np.uint64]]:
    """The different ids in the order of (hash, bytes), and their hashes."""
    if len(ids.ends) <= SMALL_SET:
        return _distinct_small(ids)
    from pipeline import hashing

    ids = Ids.concat([ids])  # fresh arrays: for other flags numba would compile again
    hashes = hashing.hash_ids(ids.ends, ids.data)
    order = np.argsort(hashes)
    ends, data, kept, collided = hashing.gather(ids.ends, ids.data, hashes, order)
    if collided:  # different ids of the same hash: one pair in 10**19, or somebody's intent
        return _distinct_small(ids)
    return Ids(ends, data), hashes[kept]


def _distinct_small(ids: Ids) -> tuple[Ids, npt.NDArray[np.uint64]]:
    keyed = sorted((hash_id(item), item) for item in set(ids.to_list()))
    return Ids.of(item for _, item in keyed), np.array([h for h, _ in keyed], dtype=np.uint64)


def partition(ids: Ids) -> Iterator[tuple[int, bytes]]:
    """The different ids as (partition, packed ids), ascending, without empty partitions."""
    unique, hashes = distinct(ids)
    bounds = np.searchsorted(hashes >> np.uint64(64 - PARTITION_BITS), np.arange(2**PARTITION_BITS + 1)).tolist()
    for number, (start, stop) in enumerate(pairwise(bounds)):
        if start < stop:
            yield number, pack(unique.slice(start, stop))


def merge(packed: Iterable[bytes]) -> Ids:
    """The different ids of one partition's packed pieces, in order."""
    return distinct(Ids.concat([unpack(piece) for piece in packed]))[0]


def pack(ids: Ids) -> bytes:
    """Ids as one value to shuffle: how many (uint32), the length of each (uint32), their bytes."""
    lengths = np.diff(ids.ends, prepend=0).astype("<u4")
    return np.array([len(lengths)], "<u4").tobytes() + lengths.tobytes() + ids.data.tobytes()


def unpack(packed: bytes) -> Ids:
    """The inverse of `pack`."""
    count = int(np.frombuffer(packed, "<u4", 1)[0])
    lengths = np.frombuffer(packed, "<u4", count, offset=4)
    return Ids(np.cumsum(lengths, dtype=np.int64), np.frombuffer(packed, np.uint8, offset=4 + 4 * count))


def id_lines(ids: Ids) -> bytes:
    """Ids one a line, UTF-8. An id that holds a line break is written as a JSON string, to stay on one line."""
    if not len(ids.ends):
        return b""
    if bool(((ids.data == 10) | (ids.data == 13)).any()):
        return b"".join(_line(item) for item in ids.to_list())
    return np.insert(ids.data, ids.ends, 10).tobytes()


def _line(item: bytes) -> bytes:
    import json

    return (json.dumps(item.decode()).encode() if b"\n" in item or b"\r" in item else item) + b"\n"


def unique_ids(events: Iterable[Any]) -> list[str]:
    """Events (dicts with id, event, timestamp) -> each id once; EventError names the first that is no event."""
    return [item.decode() for item in distinct(batch_events(events).ids)[0].to_list()]
