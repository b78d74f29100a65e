"""Which events are too late: those whose message or file came when their hour had been closed.

Lateness is measured by when a message was published or a file last written, not by a runner's watermark: so it is the
same in a replay and on every runner, and what is late is known before it is counted, and can be kept.
"""

import json
from collections.abc import Iterator

from pipeline.formats.decoding import AnyBlock
from pipeline.model.events import NO_IDS, Batch, Reject
from pipeline.model.table import HOUR, hour_label
from pipeline.schema import EVENT_TYPES, RAW_BYTES


def split_late(batch: Batch, arrived: int, allowed: int, offset: int = HOUR) -> tuple[Batch, Batch]:
    """A batch's events that are in time, with its rejects, and those that are late.

    arrived: Unix seconds. allowed: how long after its end an hour stays open, in seconds. offset: seconds east of UTC.
    """
    ends = ((batch.timestamps + offset) // HOUR + 1) * HOUR - offset
    late = ends + allowed < arrived
    none_late = Batch(batch.codes[:0], batch.timestamps[:0], NO_IDS)
    if not late.any():
        return batch, none_late
    lost = batch.select(late)
    return batch.select(~late), Batch(lost.codes, lost.timestamps, lost.ids)


def late_rejects(late: Batch, block: AnyBlock, offset: int = HOUR) -> Iterator[Reject]:
    """A block's late events as rejects, with the reason, and where the block begins."""
    index = None if block.offset is not None else block.index
    ids = late.ids.to_list() or [b""] * len(late.codes)
    for name, code, timestamp in zip(ids, late.codes.tolist(), late.timestamps.tolist(), strict=True):
        event = {"id": name.decode(), "event": EVENT_TYPES[code], "timestamp": timestamp}
        hour = (timestamp + offset) // HOUR * HOUR - offset
        reason = f"late: came {block.arrived - hour - HOUR} s after the end of its hour {hour_label(hour, offset)}"
        yield Reject(block.source, block.offset, index, reason, json.dumps(event)[:RAW_BYTES])
