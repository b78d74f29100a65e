"""Which events are too late for their hour, and which are from the future; both are told apart before they are counted.

An hour closes a while after its end. Written (or published) so much after that, an event is late, in a replay and on
every runner. So is one that is found when the watermark has passed the closing, whenever it was written, because the
state of its hour is gone then; and one of an hour that an earlier run has made final.

Events that are far ahead of their file or message come from a broken clock, which would make files and state for
thousands of hours to come. Where the time of a file or message is unknown, all of its events are taken.
"""

import dataclasses
import json
import math
from collections.abc import Collection, Iterator

import numpy as np

from pipeline.formats.decoding import AnyBlock
from pipeline.model.events import NO_IDS, Batch, Reject
from pipeline.model.hours import HourClock, closing
from pipeline.schema import EVENT_TYPES, RAW_BYTES


def split_late(
    batch: Batch,
    arrived: int,
    allowed: int,
    clock: HourClock,
    found: float = -math.inf,
    final: Collection[int] = (),
) -> tuple[Batch, Batch]:
    """Splits a batch into the events that are in time, with its rejects and its number of records, and the late ones.

    Args:
      batch: of one block.
      arrived: when the block was written or published, Unix seconds.
      allowed: how long an hour stays open after its end, in seconds.
      clock: assigns timestamps to hours.
      found: when the stream found the block, by the clock of the watermark.
      final: starts of hours that are final, Unix seconds.
    """
    ends = clock.ends(batch.timestamps)
    late = (ends + allowed < arrived) | (closing(ends, allowed) < found)
    if final:
        numbers, places = np.unique(clock.numbers(batch.timestamps), return_inverse=True)
        late |= np.isin(clock.starts(numbers), list(final))[places]
    none_late = Batch(batch.codes[:0], batch.timestamps[:0], NO_IDS)
    if not late.any():
        return batch, none_late
    lost = batch.select(late)
    return batch.select(~late), Batch(lost.codes, lost.timestamps, lost.ids)


def late_rejects(
    late: Batch, block: AnyBlock, clock: HourClock, allowed: int = 0, found: float = -math.inf
) -> Iterator[Reject]:
    """A block's late events as rejects, with the reason, and where the block begins; otherwise as split_late."""
    hours = clock.starts(clock.numbers(late.timestamps)).tolist()
    ends = clock.ends(late.timestamps).tolist()
    for (name, code, timestamp), hour, end in zip(_rows(late), hours, ends, strict=True):
        came, why = block.arrived, ""
        if came <= end + allowed:
            came, why = int(max(found, 0)), ", which had been closed, though it was written in time"
        reason = f"late: came {came - end} s after the end of its hour {clock.label(hour)}{why}"
        yield _event_reject(block, name, code, timestamp, reason)


def reject_future_events(batch: Batch, block: AnyBlock, most: int) -> Batch:
    """Makes rejects of the events of a block that are more than most seconds ahead of it."""
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
