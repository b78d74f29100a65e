"""Duplicates: events equal in id, event and timestamp.

An event is made one string of bytes, its key, so that the sets of ids.py find duplicates. A stream remembers keys as
columns, which are searched without being unpacked.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.model.events import NO_IDS, Batch, Ids
from pipeline.model.hour_ids import Place, split_ids
from pipeline.model.hours import HourClock
from pipeline.model.ids import Hashes, IdSet, Pieces, counted_pieces, merge_pieces
from pipeline.model.tally import first_rejects
from pipeline.schema import EVENT_TYPES

_TAIL = 6  # bytes of a key behind its id: timestamp x 6 + event code, which is below 2**41
_PART_ENDS = np.array([k * 2**62 - 1 for k in (1, 2, 3, 4)], np.uint64)
"""A stream remembers an hour in 4 parts, by the first bits of hashes: each costs a local engine 0.8 ms a batch."""

_Mask = npt.NDArray[np.bool_]


class KeySet(NamedTuple):
    """Different keys by ascending hash, as columns. hashes: uint64 each; lengths: uint32 each; data: all bytes."""

    hashes: bytes
    lengths: bytes
    data: bytes

    @classmethod
    def of(cls, keys: Ids, hashes: Hashes) -> "KeySet":
        """Keys that are different and in order."""
        lengths = np.diff(keys.ends, prepend=0).astype("<u4")
        return cls(hashes.astype("<u8").tobytes(), lengths.tobytes(), keys.data.tobytes())

    @property
    def size(self) -> int:
        """How many keys it holds."""
        return len(self.hashes) // 8

    def hash_column(self) -> Hashes:
        """The hashes."""
        return np.frombuffer(self.hashes, "<u8")

    def keys(self) -> Ids:
        """The keys."""
        lengths = np.frombuffer(self.lengths, "<u4")
        return Ids(np.cumsum(lengths, dtype=np.int64), np.frombuffer(self.data, np.uint8))


def event_keys(batch: Batch) -> Ids:
    """A batch's events, each as its id and 6 bytes for event and timestamp."""
    ids, count = batch.ids, len(batch.codes)
    numbers = (batch.timestamps * len(EVENT_TYPES) + batch.codes).astype("<i8")
    tails = numbers.view(np.uint8).reshape(count, 8)[:, :_TAIL]
    ends = ids.ends + _TAIL * np.arange(1, count + 1)
    data = np.empty(len(ids.data) + _TAIL * count, np.uint8)
    is_id = _is_id(ends, len(data))
    data[is_id] = ids.data
    data[~is_id] = tails.ravel()
    return Ids(ends, data)


def key_events(keys: Ids) -> Batch:
    """The inverse of `event_keys`."""
    count = len(keys.ends)
    is_id = _is_id(keys.ends, len(keys.data))
    numbers = np.zeros((count, 8), np.uint8)
    numbers[:, :_TAIL] = keys.data[~is_id].reshape(count, _TAIL)
    timestamps, codes = np.divmod(numbers.view("<i8").ravel().astype(np.int64), len(EVENT_TYPES))
    ids = Ids(keys.ends - _TAIL * np.arange(1, count + 1), keys.data[is_id])
    return Batch(codes.astype(np.uint8), timestamps, ids)


def _is_id(ends: npt.NDArray[np.int64], size: int) -> _Mask:
    """Which bytes of keys belong to their ids."""
    is_id = np.ones(size, np.bool_)
    for back in range(1, _TAIL + 1):
        is_id[ends - back] = False
    return is_id


def split_events(batch: Batch) -> tuple[Batch, list[tuple[int, bytes]]]:
    """A batch without its events (its counts, its first rejects), and their keys as (partition, piece)."""
    stays = Batch(
        batch.codes[:0],
        batch.timestamps[:0],
        NO_IDS,
        first_rejects(batch.rejects),
        batch.rejected,
        batch.duplicate,
        batch.read,
        batch.balance,
    )
    return stays, list(counted_pieces(event_keys(batch)))


def merge_events(pieces: Pieces) -> Batch:
    """The different events of the pieces of one partition, in an order of their own, and how many were duplicates."""
    keys, came = merge_pieces(pieces)
    events = key_events(keys)
    return replace(events, duplicate=came - len(events.codes))


def split_hours(batch: Batch, clock: HourClock) -> Iterator[tuple[Place, KeySet]]:
    """Yields the different events of a batch by place."""
    for hour, keys in split_ids(event_keys(batch), batch, clock):
        found = IdSet.of(keys)
        stops = [0, *found.hashes.searchsorted(_PART_ENDS, "right").tolist()]
        for part, (start, stop) in enumerate(pairwise(stops)):
            if start < stop:
                yield (hour, part), KeySet.of(found.ids.slice(start, stop), found.hashes[start:stop])


def as_one(sets: Sequence[KeySet]) -> KeySet:
    """Sets without a key in common as one."""
    hashes = np.concatenate([one.hash_column() for one in sets])
    order = np.argsort(hashes)
    return KeySet.of(Ids.concat([one.keys() for one in sets]).take(order), hashes[order])


def unseen(piece: KeySet, seen: Iterable[KeySet]) -> KeySet:
    """The keys of a piece that none of the sets holds."""
    keys, hashes = piece.keys(), piece.hash_column()
    held = np.zeros(len(hashes), np.bool_)
    for other in seen:
        held |= _held(keys, hashes, other)
    return KeySet.of(keys.select(~held), hashes[~held]) if held.any() else piece


def _held(keys: Ids, hashes: Hashes, other: KeySet) -> _Mask:
    """Which keys a set holds: looked up by hash, so that of a large set few keys are compared."""
    theirs = other.hash_column()
    held: _Mask = np.append(theirs, np.uint64(0))[theirs.searchsorted(hashes)] == hashes
    if held.any():
        same = set(other.keys().select(np.isin(theirs, hashes[held])).to_list())
        held[held] = [key in same for key in keys.select(held).to_list()]
    return held
