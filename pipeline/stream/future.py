"""Events from the future: a broken clock would make files and state for each of thousands of hours to come.

As with lateness, now is when a message was published or a file last written; where it is unknown, all is taken.
"""

import dataclasses
from collections.abc import Iterator

from pipeline.formats.decoding import AnyBlock
from pipeline.model.events import Batch, Reject
from pipeline.stream.lateness import event_reject


def refuse_future(batch: Batch, block: AnyBlock, most: int) -> Batch:
    """A block's batch with the events that are further ahead than most seconds as rejects."""
    ahead = batch.timestamps > block.arrived + most
    if not block.arrived or not ahead.any():
        return batch
    rejects = tuple(_rejects(batch.select(ahead), block))
    rejected = batch.rejected + len(rejects)
    return dataclasses.replace(batch.select(~ahead), rejects=batch.rejects + rejects, rejected=rejected)


def _rejects(lost: Batch, block: AnyBlock) -> Iterator[Reject]:
    ids = lost.ids.to_list() or [b""] * len(lost.codes)
    for name, code, timestamp in zip(ids, lost.codes.tolist(), lost.timestamps.tolist(), strict=True):
        reason = f"timestamp: in the future, {timestamp - block.arrived} s after it came"
        yield event_reject(block, name, code, timestamp, reason)
