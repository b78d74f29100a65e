"""Unique ids per hour: the sets of ids.py, split by the hour of their events, and by parts where an hour has many."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

from pipeline.model.events import Batch
from pipeline.model.hours import HourClock
from pipeline.model.ids import counted_piece, counted_pieces, merge_pieces

Place = tuple[int, int]
"""The start of an hour (Unix seconds), and a part by the hash of an id."""


def ids_by_hour(batch: Batch, clock: HourClock, parts: int = 1) -> Iterator[tuple[Place, bytes]]:
    """A batch's different ids by place, ascending, as pieces that say how many came; see merge_pieces.

    parts: of each hour, 1 or a power of two to MAX_PARTITIONS.

    It is sorted once: a pass for each hour took ten times as long where a batch spans a month.
    """
    numbers = clock.numbers(batch.timestamps)
    order = np.argsort(numbers, kind="stable")
    numbers, ids = numbers[order], batch.ids.take(order)
    bounds = np.flatnonzero(np.diff(numbers, prepend=-(10**9)))
    starts = clock.starts(numbers[bounds]).tolist()
    for start, (first, end) in zip(starts, pairwise([*bounds.tolist(), len(numbers)]), strict=True):
        hour = ids.slice(first, end)
        pieces = counted_pieces(hour, parts) if parts > 1 else [(0, counted_piece(hour, end - first))]
        yield from (((start, part), piece) for part, piece in pieces)


def union(pieces: Iterable[bytes]) -> bytes:
    """The different ids of pieces as one piece."""
    found = list(pieces)
    return found[0] if len(found) == 1 else counted_piece(*merge_pieces(b"".join(found)))
