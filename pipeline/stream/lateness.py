"""Separates late events, and events with future timestamps, from those that are counted.

An hour closes at its end plus the allowed lateness. An event is late if it was written or published after that (the
same in a replay and on every runner), if the watermark has passed that when it is found, since the state of its hour is
released, or if an earlier run marked its hour as final.

Events far ahead of their file or message come from a broken clock and would create files and state for thousands of
hours. If the time of a file or message is unknown, none is rejected.
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
    """Splits a batch into events on time and late events.

    Args:
      batch: events of one block.
      arrived: when the block was written or published, Unix seconds.
      allowed: allowed lateness in seconds.
      clock: assigns timestamps to hours.
      found: when the stream found the block, by the clock of the watermark, Unix seconds.
      final: starts of final hours, Unix seconds.

    Returns:
      The events on time, with the batch's rejects and number of records, and the late events.
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
    """Yields late events as rejects at the offset of their block; arguments as of split_late."""
    hours = clock.starts(clock.numbers(late.timestamps)).tolist()
    ends = clock.ends(late.timestamps).tolist()
    for (name, code, timestamp), hour, end in zip(_rows(late), hours, ends, strict=True):
        verb, time, note = "arrived", block.arrived, ""
        if time <= end + allowed:
            verb, time, note = "found", int(max(found, 0)), ", which was closed, although written in time"
        reason = f"late: {verb} {time - end} s after the end of its hour {clock.label(hour)}{note}"
        yield _event_reject(block, name, code, timestamp, reason)


def reject_future_events(batch: Batch, block: AnyBlock, limit: int) -> Batch:
    """Rejects the events that are more than `limit` seconds ahead of their block."""
    ahead = batch.timestamps > block.arrived + limit
    if not block.arrived or not ahead.any():
        return batch
    reason = "timestamp is {} s ahead of its file or message"
    rejects = tuple(
        _event_reject(block, name, code, timestamp, reason.format(timestamp - block.arrived))
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
