"""Unique ids per hour: the sets of ids.py, split by the hour of their events, and by parts where an hour has many."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

from pipeline.model.events import Batch
from pipeline.model.hours import HourClock
from pipeline.model.ids import distinct, merge, partition

Place = tuple[int, int]
"""The start of an hour (Unix seconds), and a part by the hash of an id."""


def ids_by_hour(batch: Batch, clock: HourClock, parts: int = 1) -> Iterator[tuple[Place, bytes]]:
    """A batch's different ids by place, packed, ascending. parts: of each hour, 1 or a power of two to MAX_PARTITIONS.

    It is sorted once: a pass for each hour took ten times as long where a batch spans a month.
    """
    numbers = clock.numbers(batch.timestamps)
    order = np.argsort(numbers, kind="stable")
    numbers, ids = numbers[order], batch.ids.take(order)
    bounds = np.flatnonzero(np.diff(numbers, prepend=-(10**9)))
    starts = clock.starts(numbers[bounds]).tolist()
    for start, (first, end) in zip(starts, pairwise([*bounds.tolist(), len(numbers)]), strict=True):
        hour = ids.slice(first, end)
        pieces = partition(hour, parts) if parts > 1 else [(0, distinct(hour))]
        yield from (((start, part), packed) for part, packed in pieces)


def union(packed: Iterable[bytes]) -> bytes:
    """The different ids of packed sets, packed again."""
    pieces = list(packed)
    return pieces[0] if len(pieces) == 1 else distinct(merge(b"".join(pieces)))
