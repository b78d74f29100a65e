"""Unique ids per hour: the sets of ids.py, split by the hour of their events, and by parts where an hour has many."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pipeline.model.events import Batch, Ids
from pipeline.model.hours import HourClock
from pipeline.model.ids import counted_pieces, joined_pieces

Place = tuple[int, int]
"""The start of an hour (Unix seconds), and a part by the hash of an id."""


def ids_by_hour(batch: Batch, clock: HourClock, parts: int = 1) -> Iterator[tuple[Place, bytes]]:
    """A batch's different ids by place, ascending, as pieces that say how many came; see merge_pieces.

    parts: of each hour, 1 or a power of two to MAX_PARTITIONS.
    """
    for start, ids in split_ids(batch.ids, batch, clock):
        yield from (((start, part), piece) for part, piece in counted_pieces(ids, parts))


def split_ids(ids: Ids, batch: Batch, clock: HourClock) -> Iterator[tuple[int, Ids]]:
    """The ids of a batch's events, or other keys of them, by the start of their hour, ascending.

    They are sorted once: a pass for each hour took ten times as long where a batch spans a month.
    """
    numbers = clock.numbers(batch.timestamps)
    order = _order(numbers)
    numbers, ids = numbers[order], ids.take(order)
    bounds = np.flatnonzero(np.diff(numbers, prepend=-(10**9)))
    starts = clock.starts(numbers[bounds]).tolist()
    for start, (first, end) in zip(starts, pairwise([*bounds.tolist(), len(numbers)]), strict=True):
        yield start, ids.slice(first, end)


def _order(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """What sorts them. Of 16 bits numpy sorts without comparing, in a third of the time."""
    numbers = numbers - numbers.min(initial=2**62)
    return np.argsort(numbers.astype(np.uint16) if numbers.max(initial=0) < 1 << 16 else numbers, kind="stable")


def union(pieces: Iterable[bytes]) -> bytes:
    """Merges pieces of a place into one."""
    found = list(pieces)
    return found[0] if len(found) == 1 else joined_pieces(b"".join(found))
