"""Separates late events, and events from the future, from those that are counted.

An hour closes some time after its end. An event is late if it was written (or published) later than that, in a replay
and on every runner; if it is found when the watermark has passed the closing, since the state of its hour is released
then; and if an earlier run has made its hour final.

Events far ahead of their file or message come from a broken clock, and would create files and state for thousands of
hours. Where the time of a file or message is unknown, all its events are taken.
"""

import dataclasses
import json
import math
from collections.abc import Collection, Iterator

import numpy as np

from pipeline.formats.decoding import AnyBlock
from pipeline.model.events import NO_IDS, Batch, Reject
from pipeline.model.hours import HourClock, closing_time
from pipeline.schema import EVENT_TYPES, RAW_BYTES


def split_late(
    batch: Batch,
    arrived: int,
    allowed: int,
    clock: HourClock,
    found: float = -math.inf,
    final: Collection[int] = (),
) -> tuple[Batch, Batch]:
    """Splits a batch into its events in time, with its rejects and its number of records, and its late events.

    Args:
      batch: of one block.
      arrived: when the block was written or published, Unix seconds.
      allowed: seconds for which an hour stays open after its end.
      clock: assigns timestamps to hours.
      found: when the stream found the block, by the clock of the watermark.
      final: starts of hours that are final, Unix seconds.
    """
    ends = clock.ends(batch.timestamps)
    late = (ends + allowed < arrived) | (closing_time(ends, allowed) < found)
    if final:
        numbers, places = np.unique(clock.numbers(batch.timestamps), return_inverse=True)
        late |= np.isin(clock.starts(numbers), list(final))[places]
    if not late.any():
        return batch, Batch(batch.codes[:0], batch.timestamps[:0], NO_IDS)
    lost = batch.select(late)
    return batch.select(~late), Batch(lost.codes, lost.timestamps, lost.ids)


def late_rejects(
    late: Batch, block: AnyBlock, clock: HourClock, allowed: int = 0, found: float = -math.inf
) -> Iterator[Reject]:
    """Makes rejects of the late events of a block, at its offset; arguments as of split_late."""
    hours = clock.starts(clock.numbers(late.timestamps)).tolist()
    ends = clock.ends(late.timestamps).tolist()
    for (name, code, timestamp), hour, end in zip(_rows(late), hours, ends, strict=True):
        arrived, why = block.arrived, ""
        if arrived <= end + allowed:
            arrived, why = int(max(found, 0)), ", which had been closed, though it was written in time"
        reason = f"late: came {arrived - end} s after the end of its hour {clock.label(hour)}{why}"
        yield _event_reject(block, name, code, timestamp, reason)


def reject_future_events(batch: Batch, block: AnyBlock, most: int) -> Batch:
    """Makes rejects of the events that are more than most seconds ahead of their block."""
    ahead = batch.timestamps > block.arrived + most
    if not block.arrived or not ahead.any():
        return batch
    rejects = tuple(
        _event_reject(
            block, name, code, timestamp, f"timestamp: in the future, {timestamp - block.arrived} s after it came"
        )
        for name, code, timestamp in _rows(batch.select(ahead))
    )
    rejected = batch.rejected + len(rejects)
    return dataclasses.replace(batch.select(~ahead), rejects=batch.rejects + rejects, rejected=rejected)


def _rows(batch: Batch) -> Iterator[tuple[bytes, int, int]]:
    ids = batch.ids.to_list() or [b""] * len(batch.codes)
    yield from zip(ids, batch.codes.tolist(), batch.timestamps.tolist(), strict=True)


def _event_reject(block: AnyBlock, name: bytes, code: int, timestamp: int, reason: str) -> Reject:
    index = None if block.offset is not None else block.index
    event = {"id": name.decode(), "event": EVENT_TYPES[code], "timestamp": timestamp}
    return Reject(block.source, block.offset, index, reason, json.dumps(event)[:RAW_BYTES])
