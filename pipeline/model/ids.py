"""Sets of unique ids: sorted, partitioned by hash and packed, to be shuffled as a few large values and merged.

Ids are sorted by (64-bit hash, bytes), so their order does not depend on splits or the number of partitions.
"""

import itertools
import json
import struct
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.model.events import Batch, Ids, batch_events
from pipeline.model.hours import HourClock
from pipeline.native import loader as native

DEFAULT_PARTITIONS = 128
"""Default number of hash partitions: of 10 M ids, one partition fits into the CPU cache."""

MAX_PARTITIONS = 65536

_PARTITION_BYTES = 256 * 1024 * 1024  # input bytes per partition: at most about 60 MB of ids are merged at a time

_SMALL_TABLE = 100_000  # ids for which a table fits into the CPU cache, however many are repeated

PackedIds = bytes | bytearray
"""One or more packed sets of ids, concatenated. A packed set: _HEADER, the length of each id, the bytes of all."""

Hashes = npt.NDArray[np.uint64]

_HEADER = struct.Struct(
    "<QQQB"
)  # number of events, number of distinct ids, total bytes of the ids, bytes per length (1 or 4)

_K1, _K2, _MASK = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 2**64 - 1
# _K1: 2**64 / the golden ratio, as in Knuth's multiplicative hashing; _K2: a prime of xxHash64. Words are mixed
# by multiplying and by shifted XORs, as in the finalizers of MurmurHash3 and splitmix64.


def hash_id(data: bytes) -> int:
    """Hashes an id to 64 bits, the same on every machine. `native/id_sets.py` has a compiled version."""
    h = (len(data) * _K1) & _MASK
    for k in range(0, len(data), 8):
        h = ((h ^ int.from_bytes(data[k : k + 8], "little")) * _K2) & _MASK
        h ^= h >> 29
    h = ((h ^ (h >> 32)) * _K1) & _MASK
    return h ^ (h >> 32)


def partitions_for(input_bytes: int) -> int:
    """Returns the number of partitions, a power of two, that are each small enough to be merged in memory."""
    needed = -(-input_bytes // _PARTITION_BYTES)
    return min(max(DEFAULT_PARTITIONS, 1 << max(needed - 1, 0).bit_length()), MAX_PARTITIONS)


class IdSet(NamedTuple):
    """Distinct ids sorted by (hash, bytes).

    Attributes:
      ids: the distinct ids.
      hashes: the hash of each, uint64.
      event_hashes: the hashes of the ids of all events, repeated ones included.
    """

    ids: Ids
    hashes: Hashes
    event_hashes: Hashes

    @classmethod
    def of(cls, ids: Ids) -> "IdSet":
        """Builds a set of ids, which may repeat, in any order."""
        if not native.should_use("sort_ids", ids.nbytes):
            keyed = [(hash_id(item), item) for item in ids.to_list()]
            unique = sorted(set(keyed))
            hashes, event_hashes = (np.array([key[0] for key in keys], np.uint64) for keys in (unique, keyed))
            return cls(Ids.of(item for _, item in unique), hashes, event_hashes)
        hashes = np.empty(len(ids.ends), np.uint64)
        native.invoke("hash_ids", ids.data, ids.ends, len(ids.ends), hashes)
        order = _distinct_order(ids, hashes)
        return cls(ids.take(order), hashes[order], hashes)


def _distinct_order(ids: Ids, hashes: Hashes) -> Any:
    """Returns the indices of the distinct ids, sorted."""
    bits = _table_bits(hashes)
    order, overflow = _sorted(ids, hashes, bits)
    if len(overflow) > len(hashes) // 64:  # crafted to be left out of the sample
        order, overflow = _sorted(ids, hashes, (2 * len(hashes)).bit_length())
    return _merge_overflow(ids, hashes, order, overflow) if len(overflow) else order


def _table_bits(hashes: Hashes) -> int:
    """Returns the logarithm of the table size for the number of distinct ids, estimated from every 64th hash.

    A table for all ids, of which most are repeated, does not fit into the CPU cache: 100 M ids took 1.3 times as long.
    """
    distinct = count = len(hashes)
    if count > _SMALL_TABLE:
        distinct = 80 * len(np.unique(hashes[hashes & np.uint64(63) == 0])) + 1000
    return (2 * min(distinct, count)).bit_length()


def _sorted(ids: Ids, hashes: Hashes, bits: int) -> tuple[Any, Any]:
    """Returns the indices of the distinct ids, sorted, and those that do not fit into a table of 2**bits slots."""
    count, lowest = len(hashes), int(hashes.min())
    shift = max((int(hashes.max()) - lowest).bit_length() - bits, 0)
    table, overflow = np.zeros(((1 << bits) + native.MAX_PROBES, 2), np.int64), np.empty(count + 1, np.int64)
    found = native.invoke("sort_ids", ids.data, ids.ends, count, hashes, lowest, shift, table, len(table), overflow)
    return table[:found, 1] - 1, overflow[1 : 1 + overflow[0]]


def _merge_overflow(ids: Ids, hashes: Hashes, order: Any, overflow: Any) -> Any:
    """Inserts the ids that did not fit into the table, such as ids crafted to collide.

    Only these are sorted in Python, at some microseconds each, so the others stay fast.
    """
    is_shared = np.isin(hashes[order], hashes[overflow])
    shared = np.concatenate([order[is_shared], overflow])
    keys = zip(hashes[shared].tolist(), ids.take(shared).to_list(), strict=True)
    keyed = dict(zip(keys, shared.tolist(), strict=True))
    order = np.concatenate([order[~is_shared], np.array([keyed[key] for key in sorted(keyed)], np.int64)])
    return order[np.argsort(hashes[order], kind="stable")]


def _pack(ids: Ids, stops: npt.NDArray[np.int64], event_counts: npt.NDArray[np.int64]) -> Iterator[bytes]:
    """Packs the ids up to each stop as one set, with its number of events."""
    lengths = np.diff(ids.ends, prepend=0)
    kind = np.dtype("<u1" if lengths.max(initial=0) < 256 else "<u4")
    packed, data, width = lengths.astype(kind).tobytes(), ids.data.tobytes(), kind.itemsize
    start = begin = 0
    ends = np.append(0, ids.ends)[stops]
    for stop, end, events in zip(stops.tolist(), ends.tolist(), event_counts.tolist(), strict=True):
        header = _HEADER.pack(events, stop - start, end - begin, width)
        yield header + packed[start * width : stop * width] + data[begin:end]
        start, begin = stop, end


def pack_partitions(ids: Ids, partitions: int = DEFAULT_PARTITIONS) -> Iterator[tuple[int, bytes]]:
    """Packs the distinct ids of each partition, with the number of their events, so that lost ids can be detected.

    Args:
      ids: one of each event, in any order.
      partitions: a power of two up to MAX_PARTITIONS. An id's partition is the leading bits of its hash.

    Returns:
      (partition, packed set), ascending, without empty partitions.
    """
    found, shift = IdSet.of(ids), np.uint64(65 - partitions.bit_length())
    event_counts = np.bincount((found.event_hashes >> shift).astype(np.int64))
    numbers = np.flatnonzero(event_counts)
    stops = (found.hashes >> shift).searchsorted(numbers.astype(np.uint64), "right")
    return zip(numbers.tolist(), _pack(found.ids, stops, event_counts[numbers]), strict=True)


def union(sets: Iterable[bytes]) -> bytes:
    """Merges packed sets into one."""
    found = list(sets)
    if len(found) == 1:
        return found[0]
    ids, events = merge_packed(*found)
    return next(_pack(ids, np.array([len(ids.ends)]), np.array([events])))


def merge_packed(*data: PackedIds) -> tuple[Ids, int]:
    """Merges packed sets: returns the distinct ids, sorted, and the number of events."""
    total, lengths, parts = 0, [np.empty(0, np.uint8)], []
    for events, packed, part in itertools.chain.from_iterable(map(_unpacked, data)):
        total += events
        lengths.append(packed)
        parts.append(part)
    ends = np.cumsum(np.concatenate(lengths), dtype=np.int64)
    return IdSet.of(Ids(ends, np.frombuffer(b"".join(parts), np.uint8))).ids, total


def event_count(data: PackedIds) -> int:
    """Returns the number of events whose ids were packed."""
    return sum(events for events, _, _ in _unpacked(data))


def _unpacked(data: PackedIds) -> Iterator[tuple[int, npt.NDArray[Any], memoryview]]:
    """Yields the number of events of each packed set, the lengths of its ids, and their bytes."""
    view, at = memoryview(data), 0
    while at < len(view):
        events, count, size, width = _HEADER.unpack_from(view, at)
        lengths = np.frombuffer(view, "<u4" if width == 4 else np.uint8, count, at + _HEADER.size)
        at += _HEADER.size + count * width + size
        yield events, lengths, view[at - size : at]


HourShard = tuple[int, int]
"""The start of an hour (Unix seconds), and the number of a shard of its ids, by hash."""


def ids_by_hour(batch: Batch, clock: HourClock, shards: int = 1) -> Iterator[tuple[HourShard, bytes]]:
    """Packs a batch's distinct ids by hour and shard, ascending; see pack_partitions.

    shards: of each hour, 1 or a power of two up to MAX_PARTITIONS.
    """
    for start, ids in split_ids_by_hour(batch.ids, batch, clock):
        yield from (((start, shard), packed) for shard, packed in pack_partitions(ids, shards))


def split_ids_by_hour(ids: Ids, batch: Batch, clock: HourClock) -> Iterator[tuple[int, Ids]]:
    """Splits the ids of a batch's events, or other keys of them, by the start of their hour, ascending.

    Sorts once: a pass for each hour took ten times as long where a batch spans a month.
    """
    numbers = clock.numbers(batch.timestamps)
    order = _order(numbers)
    numbers, ids = numbers[order], ids.take(order)
    bounds = np.flatnonzero(np.diff(numbers, prepend=-(10**9)))
    starts = clock.starts(numbers[bounds]).tolist()
    for start, (first, end) in zip(starts, pairwise([*bounds.tolist(), len(numbers)]), strict=True):
        yield start, ids.slice(first, end)


def _order(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Returns the indices that sort hour numbers; numpy radix-sorts 16-bit integers, in a third of the time."""
    numbers = numbers - numbers.min(initial=2**62)
    return np.argsort(numbers.astype(np.uint16) if numbers.max(initial=0) < 1 << 16 else numbers, kind="stable")


def id_lines(ids: Ids) -> bytes:
    """Formats ids as UTF-8 lines; an id with a line break or a leading quote becomes a JSON string.

    So a line that begins with a quote is a JSON string, any other is the id itself.
    """
    if native.should_use("join_lines", ids.nbytes):
        lines = np.empty(len(ids.data) + len(ids.ends), np.uint8)
        if not native.invoke("join_lines", ids.data, len(ids.data), ids.ends, len(ids.ends), lines):
            return lines.tobytes()
    return b"".join(_line(item) for item in ids.to_list())


def _line(item: bytes) -> bytes:
    quoted = item.startswith(b'"') or b"\n" in item or b"\r" in item
    return (json.dumps(item.decode()).encode() if quoted else item) + b"\n"


def unique_ids(events: Iterable[Any]) -> list[str]:
    """Returns the distinct ids of events (dicts with id, event, timestamp), in hash order.

    Raises:
      EventError: names the first invalid event.
    """
    return [item.decode() for item in IdSet.of(batch_events(events).ids).ids.to_list()]
