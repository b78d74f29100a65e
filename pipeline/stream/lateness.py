"""Which events are too late: those whose message or file came when their hour had been closed.

Lateness is measured by when a message was published or a file last written, not by a runner's watermark: so it is the
same in a replay and on every runner, and what is late is known before it is counted, and can be kept.
"""

import json
from collections.abc import Iterator

from pipeline.formats.decoding import AnyBlock
from pipeline.model.events import NO_IDS, Batch, Reject
from pipeline.model.hours import HourClock
from pipeline.schema import EVENT_TYPES, RAW_BYTES


def split_late(batch: Batch, arrived: int, allowed: int, clock: HourClock) -> tuple[Batch, Batch]:
    """A batch's events that are in time, with its rejects and the number of its records; and those that are late.

    arrived: Unix seconds. allowed: how long after its end an hour stays open, in seconds.
    """
    late = clock.ends(batch.timestamps) + allowed < arrived
    none_late = Batch(batch.codes[:0], batch.timestamps[:0], NO_IDS)
    if not late.any():
        return batch, none_late
    lost = batch.select(late)
    return batch.select(~late), Batch(lost.codes, lost.timestamps, lost.ids)


def late_rejects(late: Batch, block: AnyBlock, clock: HourClock) -> Iterator[Reject]:
    """A block's late events as rejects, with the reason, and where the block begins."""
    ids = late.ids.to_list() or [b""] * len(late.codes)
    hours = clock.starts(clock.numbers(late.timestamps)).tolist()
    ends = clock.ends(late.timestamps).tolist()
    rows = zip(ids, late.codes.tolist(), late.timestamps.tolist(), hours, ends, strict=True)
    for name, code, timestamp, hour, end in rows:
        reason = f"late: came {block.arrived - end} s after the end of its hour {clock.label(hour)}"
        yield event_reject(block, name, code, timestamp, reason)


def event_reject(block: AnyBlock, name: bytes, code: int, timestamp: int, reason: str) -> Reject:
    """An event of a block as a reject, where the block begins."""
    index = None if block.offset is not None else block.index
    event = {"id": name.decode(), "event": EVENT_TYPES[code], "timestamp": timestamp}
    return Reject(block.source, block.offset, index, reason, json.dumps(event)[:RAW_BYTES])
