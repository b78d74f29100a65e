"""Duplicates: events equal in id, event and timestamp. An event is made one string of bytes, its key; sets of keys are
sets of ids as ids.py has them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.events import EVENT_TYPES, Batch, Ids
from pipeline.ids import distinct, merge, pack, partition, unpack
from pipeline.table import HOUR

_TAIL = 6  # bytes of a key behind its id: timestamp x 6 + event code, which is below 2**41

_STREAM_BITS = 6


class KeySet(NamedTuple):
    """Different keys in the order of (hash, bytes). hashes: uint64 each; keys: packed."""

    hashes: bytes
    keys: bytes

    @property
    def size(self) -> int:
        """How many keys it holds."""
        return len(self.hashes) // 8


Place = tuple[int, int]
"""Where a stream remembers an event: the start of its hour (Unix seconds), and a partition by the hash of its key."""


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


def _is_id(ends: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.bool_]:
    """Which bytes of keys belong to their ids."""
    is_id = np.ones(size, np.bool_)
    for back in range(1, _TAIL + 1):
        is_id[ends - back] = False
    return is_id


def split_events(batch: Batch) -> tuple[Batch, list[tuple[int, bytes]]]:
    """What stays of a batch (rejects, and how many duplicates it held) and (partition, packed keys) of its events."""
    pieces = list(partition(event_keys(batch)))
    return _stay(batch, sum(len(unpack(packed).ends) for _, packed in pieces)), pieces


def merge_events(packed: Iterable[bytes]) -> Batch:
    """The different events of one partition's packed keys, in an order of their own."""
    pieces = list(packed)
    came = sum(len(unpack(piece).ends) for piece in pieces)
    events = key_events(merge(pieces))
    return replace(events, duplicate=came - len(events.codes), moved=-came)


def _stay(batch: Batch, different: int) -> Batch:
    empty = batch.select(np.zeros(len(batch.codes), np.bool_))
    return replace(empty, duplicate=batch.duplicate + len(batch.codes) - different, moved=batch.moved + different)


def split_hours(batch: Batch, offset: int = HOUR) -> Iterator[tuple[Place, KeySet]]:
    """A batch's different events by place. offset: seconds east of UTC."""
    hours = (batch.timestamps + offset) // HOUR
    for hour in np.unique(hours).tolist():
        keys, hashes = distinct(event_keys(batch.select(hours == hour)))
        bounds = np.searchsorted(hashes >> np.uint64(64 - _STREAM_BITS), np.arange(2**_STREAM_BITS + 1)).tolist()
        for number, (start, stop) in enumerate(pairwise(bounds)):
            if start < stop:
                yield (hour * HOUR - offset, number), _key_set(keys.slice(start, stop), hashes[start:stop])


def _key_set(keys: Ids, hashes: npt.NDArray[np.uint64]) -> KeySet:
    return KeySet(hashes.astype("<u8").tobytes(), pack(keys))


def unseen(piece: KeySet, seen: Iterable[KeySet]) -> KeySet:
    """The keys of a piece that none of the sets holds."""
    keys, hashes = unpack(piece.keys), np.frombuffer(piece.hashes, "<u8")
    held = np.zeros(len(hashes), np.bool_)
    for other in seen:
        held |= _held(keys, hashes, other)
    return _key_set(keys.select(~held), hashes[~held]) if held.any() else piece


def _held(keys: Ids, hashes: npt.NDArray[np.uint64], other: KeySet) -> npt.NDArray[np.bool_]:
    """Which keys a set holds: looked up by hash, so that of a large set only few are compared."""
    theirs = np.frombuffer(other.hashes, "<u8")
    held = np.searchsorted(theirs, hashes) < np.searchsorted(theirs, hashes, "right")
    if held.any():
        same = set(unpack(other.keys).select(np.isin(theirs, hashes[held])).to_list())
        held[held] = [key in same for key in keys.select(held).to_list()]
    return held


def union(sets: Iterable[KeySet]) -> KeySet:
    """All keys of the sets."""
    return _key_set(*distinct(Ids.concat([unpack(item.keys) for item in sets])))


def set_events(keys: KeySet) -> Batch:
    """The events of a set."""
    return key_events(unpack(keys.keys))
