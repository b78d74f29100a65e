"""Sets of unique ids: sorted, packed and split by hash to be shuffled as a few large values, then merged.

The order of ids is by (64-bit hash, bytes): the same for every run, split and number of partitions.
"""

import json
import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.model.events import Ids, batch_events
from pipeline.native import loader as native

PARTITIONS = 128
"""Hash partitions of a shuffle: of 10 M ids, those of one fit into the processor's cache."""

MAX_PARTITIONS = 65536

_PARTITION_BYTES = 256 * 1024 * 1024  # of input: some 60 MB of ids to be merged at a time, if all are different

Pieces = bytes | bytearray
"""Pieces, joined. A piece is a packed set of ids: _HEADER, the length of each id, the bytes of all."""

Hashes = npt.NDArray[np.uint64]

_HEADER = struct.Struct("<QQQB")  # how many ids came, how many are different, bytes of all, bytes of a length

_K1, _K2, _MASK = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 2**64 - 1
# _K1: 2**64 / the golden ratio, as in Knuth's multiplicative hashing; _K2: a prime of xxHash64. Words are mixed
# by multiplying and by shifted XORs, as in the finalizers of MurmurHash3 and splitmix64.


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


class IdSet(NamedTuple):
    """Different ids in the order of (hash, bytes).

    hashes: one of each id, uint64. came: the hashes of all ids that the set was made of, repeated ones included.
    """

    ids: Ids
    hashes: Hashes
    came: Hashes

    @classmethod
    def of(cls, ids: Ids) -> "IdSet":
        """The set of ids in any order."""
        if not native.worth_compiling("sort_ids", ids.nbytes):
            keyed = [(hash_id(item), item) for item in ids.to_list()]
            unique = sorted(set(keyed))
            hashes, came = (np.array([key[0] for key in keys], np.uint64) for keys in (unique, keyed))
            return cls(Ids.of(item for _, item in unique), hashes, came)
        hashes = np.empty(len(ids.ends), np.uint64)
        native.invoke("hash_ids", ids.data, ids.ends, len(ids.ends), hashes)
        order = _sorted(ids, hashes)
        return cls(ids.take(order), hashes[order], hashes)

    def pieces(self, partitions: int) -> Iterator[tuple[int, bytes]]:
        """Packs the ids of each partition that has any; yields them with the partition's number, ascending."""
        shift = np.uint64(65 - partitions.bit_length())
        came = np.bincount((self.came >> shift).astype(np.int64))
        numbers = np.flatnonzero(came)
        stops = (self.hashes >> shift).searchsorted(numbers.astype(np.uint64), "right")
        return zip(numbers.tolist(), _pack(self.ids, stops, came[numbers]), strict=True)


def _sorted(ids: Ids, hashes: Hashes) -> Any:
    """The indices of different ids, in order."""
    count, lowest = len(hashes), int(hashes.min())
    bits = (2 * count).bit_length()
    shift = max((int(hashes.max()) - lowest).bit_length() - bits, 0)
    table, aside = np.zeros(((1 << bits) + native.PROBES, 2), np.int64), np.empty(count + 1, np.int64)
    found = native.invoke("sort_ids", ids.data, ids.ends, count, hashes, lowest, shift, table, len(table), aside)
    order = table[:found, 1] - 1
    return _with_crafted(ids, hashes, order, aside[1 : 1 + aside[0]]) if aside[0] else order


def _with_crafted(ids: Ids, hashes: Hashes, order: Any, crafted: Any) -> Any:
    """Adds ids that found no place in a table, since somebody made many of almost the same hash.

    Python compares them alone, at some microseconds each; so they do not make all others slow.
    """
    is_shared = np.isin(hashes[order], hashes[crafted])
    shared = np.concatenate([order[is_shared], crafted])
    keys = zip(hashes[shared].tolist(), ids.take(shared).to_list(), strict=True)
    keyed = dict(zip(keys, shared.tolist(), strict=True))
    order = np.concatenate([order[~is_shared], np.array([keyed[key] for key in sorted(keyed)], np.int64)])
    return order[np.argsort(hashes[order], kind="stable")]


def _pack(ids: Ids, stops: npt.NDArray[np.int64], came: npt.NDArray[np.int64]) -> Iterator[bytes]:
    """Packs ids up to each stop as a piece. came: how many came to each."""
    lengths = np.diff(ids.ends, prepend=0)
    kind = np.dtype("<u1" if lengths.max(initial=0) < 256 else "<u4")
    packed, data, width = lengths.astype(kind).tobytes(), ids.data.tobytes(), kind.itemsize
    start = begin = 0
    for stop, end, count in zip(stops.tolist(), np.append(0, ids.ends)[stops].tolist(), came.tolist(), strict=True):
        header = _HEADER.pack(count, stop - start, end - begin, width)
        yield header + packed[start * width : stop * width] + data[begin:end]
        start, begin = stop, end


def counted_pieces(ids: Ids, partitions: int = PARTITIONS) -> Iterator[tuple[int, bytes]]:
    """Packs the set of ids as (partition, piece), ascending, without empty partitions.

    Pieces of a partition may be joined. They count the ids that came, so that none is lost unnoticed.

    Args:
      ids: in any order.
      partitions: a power of two up to MAX_PARTITIONS. An id's partition is the first bits of its hash.
    """
    return IdSet.of(ids).pieces(partitions)


def joined_pieces(data: Pieces) -> bytes:
    """Merges pieces into one."""
    ids, came = merge_pieces(data)
    return next(_pack(ids, np.array([len(ids.ends)]), np.array([came])))


def merge_pieces(data: Pieces) -> tuple[Ids, int]:
    """Merges joined pieces: the different ids in order, and how many ids came."""
    found, lengths, parts = 0, [np.empty(0, np.uint8)], []
    for came, packed, part in _unpacked(data):
        found += came
        lengths.append(packed)
        parts.append(part)
    ends = np.cumsum(np.concatenate(lengths), dtype=np.int64)
    return IdSet.of(Ids(ends, np.frombuffer(b"".join(parts), np.uint8))).ids, found


def ids_came(data: Pieces) -> int:
    """How many ids came to joined pieces."""
    return sum(came for came, _, _ in _unpacked(data))


def _unpacked(data: Pieces) -> Iterator[tuple[int, npt.NDArray[Any], memoryview]]:
    """Yields how many ids came to each piece, the lengths of its ids, and their bytes."""
    view, at = memoryview(data), 0
    while at < len(view):
        came, count, size, width = _HEADER.unpack_from(view, at)
        lengths = np.frombuffer(view, "<u4" if width == 4 else np.uint8, count, at + _HEADER.size)
        at += _HEADER.size + count * width + size
        yield came, lengths, view[at - size : at]


def id_lines(ids: Ids) -> bytes:
    """Ids one a line, UTF-8. One that holds a line break or begins with a quote is written as a JSON string.

    So each stays on one line, and a line that begins with a quote is a JSON string, any other the id itself.
    """
    if native.worth_compiling("join_lines", ids.nbytes):
        lines = np.empty(len(ids.data) + len(ids.ends), np.uint8)
        if not native.invoke("join_lines", ids.data, len(ids.data), ids.ends, len(ids.ends), lines):
            return lines.tobytes()
    return b"".join(_line(item) for item in ids.to_list())


def _line(item: bytes) -> bytes:
    quoted = item.startswith(b'"') or b"\n" in item or b"\r" in item
    return (json.dumps(item.decode()).encode() if quoted else item) + b"\n"


def unique_ids(events: Iterable[Any]) -> list[str]:
    """Events (dicts with id, event, timestamp) -> each id once; EventError names the first that is not valid."""
    return [item.decode() for item in IdSet.of(batch_events(events).ids).ids.to_list()]
