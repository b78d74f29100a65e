"""Which events are too late: those whose message or file came when their hour had been closed.

An hour closes a while after its end; for the events of a stream that began later, a while after that. Written (or
published) so much after its hour's end, an event is late, in a replay and on every runner. An event that is found that
late is late too, whenever it was written: by then the state of its hour is gone, with what it knew of duplicates. So is
one whose hour an earlier run has marked as final. Late events are told apart before they are counted, and can be kept.
"""

import json
import math
from collections.abc import Container, Iterator

import numpy as np
import numpy.typing as npt

from pipeline.formats.decoding import AnyBlock
from pipeline.model.events import NO_IDS, Batch, Reject
from pipeline.model.hours import HourClock, closing
from pipeline.schema import EVENT_TYPES, RAW_BYTES
from pipeline.stream.hour_files import hour_name


def split_late(
    batch: Batch,
    arrived: int,
    allowed: int,
    clock: HourClock,
    found: float = -math.inf,
    started: int = 0,
    final: Container[str] = (),
) -> tuple[Batch, Batch]:
    """A batch's events that are in time, with its rejects and the number of its records; and those that are late.

    arrived: when it was written; found: when the stream found it, on the clock of the watermark; started: when the
    stream began; all Unix seconds. allowed: how long after its end an hour stays open, in seconds. final: the names of
    hours that were closed before.
    """
    ends = clock.ends(batch.timestamps)
    late = (ends + allowed < arrived) | (closing(ends, allowed, started) < found)
    if final:
        late |= _of_hours(batch, clock, final)
    none_late = Batch(batch.codes[:0], batch.timestamps[:0], NO_IDS)
    if not late.any():
        return batch, none_late
    lost = batch.select(late)
    return batch.select(~late), Batch(lost.codes, lost.timestamps, lost.ids)


def _of_hours(batch: Batch, clock: HourClock, names: Container[str]) -> npt.NDArray[np.bool_]:
    numbers = clock.numbers(batch.timestamps)
    each = np.unique(numbers)
    those = [hour_name(clock.label(start)) in names for start in clock.starts(each).tolist()]
    return np.isin(numbers, each[np.array(those, np.bool_)])


def late_rejects(
    late: Batch, block: AnyBlock, clock: HourClock, allowed: int = 0, found: float = -math.inf
) -> Iterator[Reject]:
    """A block's late events as rejects, with the reason, and where the block begins; otherwise as split_late."""
    ids = late.ids.to_list() or [b""] * len(late.codes)
    hours = clock.starts(clock.numbers(late.timestamps)).tolist()
    ends = clock.ends(late.timestamps).tolist()
    rows = zip(ids, late.codes.tolist(), late.timestamps.tolist(), hours, ends, strict=True)
    for name, code, timestamp, hour, end in rows:
        came, why = block.arrived, ""
        if came <= end + allowed:
            came, why = int(found), ", which had been closed, though it was written in time"
        reason = f"late: came {came - end} s after the end of its hour {clock.label(hour)}{why}"
        yield event_reject(block, name, code, timestamp, reason)


def event_reject(block: AnyBlock, name: bytes, code: int, timestamp: int, reason: str) -> Reject:
    """An event of a block as a reject, where the block begins."""
    index = None if block.offset is not None else block.index
    event = {"id": name.decode(), "event": EVENT_TYPES[code], "timestamp": timestamp}
    return Reject(block.source, block.offset, index, reason, json.dumps(event)[:RAW_BYTES])
