"""Duplicates: events equal in id, event and timestamp.

Each event is encoded as a byte string (its key), which the sets of ids.py deduplicate. A stream stores keys as columns,
so that lookups need not unpack them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.model.events import NO_IDS, Batch, Ids
from pipeline.model.hours import HourClock
from pipeline.model.ids import Hashes, HourShard, IdSet, PackedIds, merge_packed, pack_partitions, split_ids_by_hour
from pipeline.model.tally import first_rejects
from pipeline.schema import EVENT_TYPES

_TAIL = 6  # bytes of a key after its id: timestamp x 6 + event code, which is below 2**41
_SHARD_ENDS = np.array([k * 2**62 - 1 for k in (1, 2, 3, 4)], np.uint64)
"""The last hash of each of the 4 shards of an hour in a stream; each shard costs Prism 0.8 ms per batch."""

_Mask = npt.NDArray[np.bool_]


class KeySet(NamedTuple):
    """Distinct keys sorted by hash, as columns.

    Attributes:
      hashes: hashes as little-endian uint64.
      lengths: key lengths in bytes, as little-endian uint32.
      data: the keys, concatenated.
    """

    hashes: bytes
    lengths: bytes
    data: bytes

    @classmethod
    def of(cls, keys: Ids, hashes: Hashes) -> "KeySet":
        """Packs distinct keys that are sorted by hash."""
        lengths = np.diff(keys.ends, prepend=0).astype("<u4")
        return cls(hashes.astype("<u8").tobytes(), lengths.tobytes(), keys.data.tobytes())

    @property
    def size(self) -> int:
        """Number of keys."""
        return len(self.hashes) // 8

    def hash_column(self) -> Hashes:
        """Returns the hashes, uint64."""
        return np.frombuffer(self.hashes, "<u8")

    def keys(self) -> Ids:
        """Returns the keys as byte strings."""
        lengths = np.frombuffer(self.lengths, "<u4")
        return Ids(np.cumsum(lengths, dtype=np.int64), np.frombuffer(self.data, np.uint8))


def encode_keys(batch: Batch) -> Ids:
    """Encodes each event of a batch as its id and 6 bytes for event type and timestamp."""
    ids, count = batch.ids, len(batch.codes)
    numbers = (batch.timestamps * len(EVENT_TYPES) + batch.codes).astype("<i8")
    tails = numbers.view(np.uint8).reshape(count, 8)[:, :_TAIL]
    ends = ids.ends + _TAIL * np.arange(1, count + 1)
    data = np.empty(len(ids.data) + _TAIL * count, np.uint8)
    is_id = _is_id(ends, len(data))
    data[is_id] = ids.data
    data[~is_id] = tails.ravel()
    return Ids(ends, data)


def decode_keys(keys: Ids) -> Batch:
    """Decodes keys of encode_keys to a batch."""
    count = len(keys.ends)
    is_id = _is_id(keys.ends, len(keys.data))
    numbers = np.zeros((count, 8), np.uint8)
    numbers[:, :_TAIL] = keys.data[~is_id].reshape(count, _TAIL)
    timestamps, codes = np.divmod(numbers.view("<i8").ravel().astype(np.int64), len(EVENT_TYPES))
    ids = Ids(keys.ends - _TAIL * np.arange(1, count + 1), keys.data[is_id])
    return Batch(codes.astype(np.uint8), timestamps, ids)


def _is_id(ends: npt.NDArray[np.int64], size: int) -> _Mask:
    """Returns a mask of the bytes that belong to ids, not to tails. size: of all keys, in bytes."""
    is_id = np.ones(size, np.bool_)
    for back in range(1, _TAIL + 1):
        is_id[ends - back] = False
    return is_id


def partition_events(batch: Batch) -> tuple[Batch, list[tuple[int, bytes]]]:
    """Returns the batch without its events (counters, first rejects), and the event keys packed by hash partition."""
    remainder = Batch(
        batch.codes[:0],
        batch.timestamps[:0],
        NO_IDS,
        first_rejects(batch.rejects),
        batch.rejected,
        batch.duplicate,
        batch.read,
        batch.coverage_delta,
    )
    return remainder, list(pack_partitions(encode_keys(batch)))


def merge_events(*packed: PackedIds) -> Batch:
    """Returns the distinct events of a partition, sorted by (hash, key), and the number of duplicates."""
    keys, count = merge_packed(*packed)
    events = decode_keys(keys)
    return replace(events, duplicate=count - len(events.codes))


def split_keys_by_hour(batch: Batch, clock: HourClock) -> Iterator[tuple[HourShard, KeySet]]:
    """Yields the distinct event keys of a batch by hour and shard."""
    for hour, keys in split_ids_by_hour(encode_keys(batch), batch, clock):
        distinct = IdSet.of(keys)
        stops = [0, *distinct.hashes.searchsorted(_SHARD_ENDS, "right").tolist()]
        for shard, (start, stop) in enumerate(pairwise(stops)):
            if start < stop:
                yield (hour, shard), KeySet.of(distinct.ids.slice(start, stop), distinct.hashes[start:stop])


def merge_disjoint(sets: Sequence[KeySet]) -> KeySet:
    """Merges sets that have no key in common."""
    hashes = np.concatenate([one.hash_column() for one in sets])
    order = np.argsort(hashes)
    return KeySet.of(Ids.concat([one.keys() for one in sets]).take(order), hashes[order])


def unseen(new: KeySet, seen: Iterable[KeySet]) -> KeySet:
    """Returns the keys that none of the seen sets contains."""
    keys, hashes = new.keys(), new.hash_column()
    known = np.zeros(len(hashes), np.bool_)
    for other in seen:
        known |= _contains(other, keys, hashes)
    return KeySet.of(keys.select(~known), hashes[~known]) if known.any() else new


def _contains(other: KeySet, keys: Ids, hashes: Hashes) -> _Mask:
    """Returns a mask of the keys that a set contains; compares only keys whose hash it contains."""
    theirs = other.hash_column()
    found: _Mask = np.append(theirs, np.uint64(0))[theirs.searchsorted(hashes)] == hashes
    if found.any():
        same = set(other.keys().select(np.isin(theirs, hashes[found])).to_list())
        found[found] = [key in same for key in keys.select(found).to_list()]
    return found
