"""Unique ids per hour: the sets of ids.py, split by the hour of their events."""

from collections.abc import Iterable, Iterator

import numpy as np

from pipeline.model.events import Batch
from pipeline.model.hours import HourClock
from pipeline.model.ids import distinct, merge


def ids_by_hour(batch: Batch, clock: HourClock) -> Iterator[tuple[int, bytes]]:
    """A batch's different ids as (start of the hour, Unix seconds; packed ids), ascending."""
    hours = clock.numbers(batch.timestamps)
    found = np.unique(hours)
    for hour, start in zip(found, clock.starts(found).tolist(), strict=True):
        yield start, distinct(batch.ids.select(hours == hour))


def union(packed: Iterable[bytes]) -> bytes:
    """The different ids of packed sets, packed again."""
    pieces = list(packed)
    return pieces[0] if len(pieces) == 1 else distinct(merge(b"".join(pieces)))
