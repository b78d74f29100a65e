"""Decodes the blocks of a stream; invalid input is rejected, never an error. Local streams record it in the ledger.

An hour closes at its end plus the allowed lateness. An event is late if it was written or published after that (the
same in a replay and on every runner), if the watermark has passed that when it is found, since the state of its hour is
released, or if an earlier run marked its hour as final.

Events far ahead of their file or message come from a broken clock and would create files and state for thousands of
hours. If the time of a file or message is unknown, none is rejected.
"""

import dataclasses
import json
import logging
import math
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from pipeline.engine.metrics import COUNTS, count
from pipeline.engine.run_state import run_state, steady_time
from pipeline.engine.spill import in_global_window
from pipeline.errors import InputError
from pipeline.formats.decoding import AnyBlock, BrokenBlock
from pipeline.model.duplicates import encode_keys
from pipeline.model.events import Batch, Reject
from pipeline.model.hours import HourClock, closing_time
from pipeline.model.ids import ids_by_hour, union
from pipeline.model.tally import Tally, explain_rejects, first_rejects
from pipeline.schema import EVENT_TYPES, RAW_BYTES
from pipeline.stream import StreamJob
from pipeline.stream.ledger import Contribution, ledger_of
from pipeline.stream.totals import SumHours
from pipeline.transforms.decode import REJECTS
from pipeline.transforms.write import reject_lines


def reject_late_events(
    batch: Batch,
    block: AnyBlock,
    clock: HourClock,
    allowed: int,
    found: float = -math.inf,
    final: Collection[int] = (),
) -> tuple[Batch, int]:
    """Makes the late events of a batch rejects, which its number of rejected records does not include.

    Args:
      batch: events of one block.
      block: was written or published at `arrived`, Unix seconds.
      clock: assigns timestamps to hours.
      allowed: allowed lateness in seconds.
      found: when the stream found the block, by the clock of the watermark, Unix seconds.
      final: starts of final hours, Unix seconds.

    Returns:
      The batch, and the number of late events.
    """
    ends = clock.ends(batch.timestamps)
    late = (ends + allowed < block.arrived) | (closing_time(ends, allowed) < found)
    if final:
        numbers, places = np.unique(clock.numbers(batch.timestamps), return_inverse=True)
        late |= np.isin(clock.starts(numbers), list(final))[places]
    if not late.any():
        return batch, 0
    hours = clock.starts(clock.numbers(batch.timestamps[late])).tolist()
    reasons = []
    for hour, end in zip(hours, ends[late].tolist(), strict=True):
        verb, time, note = "arrived", block.arrived, ""
        if time <= end + allowed:
            verb, time, note = "found", int(max(found, 0)), ", which was closed, although written in time"
        reasons.append(f"late: {verb} {time - end} s after the end of its hour {clock.label(hour)}{note}")
    return _reject_events(batch, late, block, reasons), len(reasons)


def reject_future_events(batch: Batch, block: AnyBlock, limit: int) -> Batch:
    """Rejects the events that are more than `limit` seconds ahead of their block."""
    ahead = batch.timestamps - block.arrived
    future = ahead > limit
    if not block.arrived or not future.any():
        return batch
    reasons = [f"timestamp is {seconds} s ahead of its file or message" for seconds in ahead[future].tolist()]
    batch = _reject_events(batch, future, block, reasons)
    return dataclasses.replace(batch, rejected=batch.rejected + len(reasons))


def _reject_events(batch: Batch, chosen: npt.NDArray[np.bool_], block: AnyBlock, reasons: list[str]) -> Batch:
    lost = batch.select(chosen)
    ids = lost.ids.to_list() or [b""] * len(reasons)
    index = None if block.offset is not None else block.index
    rejects = []
    for name, code, timestamp, reason in zip(ids, lost.codes.tolist(), lost.timestamps.tolist(), reasons, strict=True):
        event = {"id": name.decode(), "event": EVENT_TYPES[code], "timestamp": timestamp}
        rejects.append(Reject(block.source, block.offset, index, reason, json.dumps(event)[:RAW_BYTES]))
    return dataclasses.replace(batch.select(~chosen), rejects=(*batch.rejects, *rejects))


class DecodeStream(SumHours):
    """Decodes blocks of a stream: AnyBlock -> Batch and tagged outputs; a block that cannot be decoded is a reject.

    Batches, the events on time, are emitted if duplicates are to be dropped; otherwise their sums, as by SumHours.
    REJECTS: tuple[int, bytes], a key and the lines of a bundle's rejects, late events included; with a ledger, which
    has them, without lines. If rejects are not written, they are logged. COUNTS: Counted of a bundle.
    """

    def __init__(self, job: StreamJob) -> None:
        super().__init__(job)
        self._deduplicate = job.report.deduplicate
        self._want_ids = bool(job.ids_output or job.rejects_output) or self._deduplicate

    def start_bundle(self) -> None:
        super().start_bundle()
        self._found = math.inf

    def process(
        self, block: AnyBlock, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        yield from super().process((block, float(timestamp)), timestamp, window)

    def work(self, element: Any) -> Any:
        block, found = element
        return *self._decode(block, found), found or steady_time()  # 0 while the watch holds the watermark

    def _decode(self, block: AnyBlock, found: float, final: Collection[int] = ()) -> tuple[Batch, Contribution]:
        """Returns the events on time with all rejects, late events included, and what they contribute."""
        try:
            batch = block.decode(self._want_ids, None)
        except InputError as error:
            batch = BrokenBlock(block.source, str(error)).decode(self._want_ids, None)
        batch, late = reject_future_events(batch, block, self._job.max_future_seconds), 0
        if self._job.allowed_lateness_seconds is not None:
            allowed = self._job.allowed_lateness_seconds
            batch, late = reject_late_events(batch, block, self._clock, allowed, found, final)
        new = self._contribution(batch)
        new.tally = Counter(read=batch.read, rejected=batch.rejected, late=late)
        if batch.rejects and self._job.rejects_output:
            new.rejects = [reject_lines(batch.rejects)[1]]
        return batch, new

    def _contribution(self, batch: Batch) -> Contribution:
        return Contribution() if self._deduplicate or not len(batch.codes) else super().work(batch)

    def emit(self, result: Any) -> Iterator[Any]:
        batch, new, found = result
        self._found = min(self._found, found)
        if batch.rejects and not self._job.rejects_output:
            tally = Tally(len(batch.rejects), len(batch.rejects), first_rejects(batch.rejects))
            logging.getLogger(__name__).warning("%s", explain_rejects(tally))
        if self._deduplicate and len(batch.codes):
            yield batch
        yield from super().emit(new)

    def _flush(self) -> Iterator[Any]:
        tally, rejects = self._new.tally, self._new.rejects
        if rejects:
            yield beam.pvalue.TaggedOutput(REJECTS, in_global_window((0, b"".join(rejects))))
        if tally:
            run_state.latency.add(self._found, tally["read"], tally["read"] - tally["rejected"] - tally["late"])
            yield beam.pvalue.TaggedOutput(COUNTS, in_global_window(count(**tally)))
        yield from super()._flush()


class DecodeToLedger(DecodeStream):
    """Commits each bundle to the ledger before its sums are emitted, and skips blocks that the ledger has."""

    def start_bundle(self) -> None:
        super().start_bundle()
        self._ledger = ledger_of(self._job.output)
        self._unreadable = dict[str, str]()

    def finish_bundle(self) -> Iterator[Any]:
        yield from super().finish_bundle()
        for name, reason in self._unreadable.items():
            if name in self._ledger.open:
                self._ledger.abandon_file(name, reason)

    def work(self, element: Any) -> Any:
        block, found = element
        file = self._ledger.open.get(block.source)
        if file is None or _is_unreadable(block) or _name(block) in file.counted:
            return block, file, None
        return block, file, (*self._decode(block, found, self._ledger.final), file.found)

    def _contribution(self, batch: Batch) -> Contribution:
        new = super()._contribution(batch)
        if self._deduplicate and len(batch.codes):
            keyed = dataclasses.replace(batch, ids=encode_keys(batch))
            new.sets = {shard: [packed] for shard, packed in ids_by_hour(keyed, self._clock, self._job.id_shards)}
        return new

    def emit(self, result: Any) -> Iterator[Any]:
        block, file, decoded = result
        if file is None:  # a block of an abandoned attempt
            return
        if _is_unreadable(block):
            self._unreadable[block.source] = block.reason  # type: ignore[attr-defined]
            return
        file.broken |= isinstance(block, BrokenBlock) and block.is_partial
        self._new.blocks.append((file, _name(block), block.coverage_delta, decoded is not None))
        if decoded is not None:
            yield from super().emit(decoded)

    def _flush(self) -> Iterator[Any]:
        self._new.sets = {shard: [union(sets)] for shard, sets in self._new.sets.items()}
        if self._new.blocks:
            self._ledger.add(self._new)
        if self._new.rejects:
            self._new.rejects = [b""]
        if self._deduplicate:
            self._new.sets.clear()  # keys of events, which may be duplicates
        yield from super()._flush()


def _is_unreadable(block: AnyBlock) -> bool:
    return isinstance(block, BrokenBlock) and block.is_retryable


def _name(block: AnyBlock) -> str:
    """Returns a name that is unique among the blocks of a file."""
    return f"{type(block).__name__} {block.offset} {block.index} {block.coverage_delta}"
