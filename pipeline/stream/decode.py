"""Decoding in a stream, which nothing that comes in may stop."""

import dataclasses
import logging
import math
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from pipeline.engine.local_run import local_run
from pipeline.engine.metrics import COUNTS, Counted, count
from pipeline.engine.spill import in_global_window
from pipeline.engine.threads import ThreadedDoFn
from pipeline.errors import InputError
from pipeline.formats.decoding import AnyBlock, BrokenBlock
from pipeline.model.events import Batch, Reject
from pipeline.model.hours import HourClock
from pipeline.model.tally import Tally, explain_rejects, first_rejects
from pipeline.stream.future import refuse_future
from pipeline.stream.hour_files import final_hours
from pipeline.stream.job import MAX_FUTURE_SECONDS, StreamJob
from pipeline.stream.lateness import late_rejects, split_late
from pipeline.stream.ledger import block_name, ledger_of
from pipeline.stream.resume import contribute
from pipeline.transforms.decode import REJECTS


class _DecodeStream(ThreadedDoFn):
    """As DecodeBlocks, but what is not valid never stops the stream: it becomes a reject."""

    def __init__(
        self, want_ids: bool, clock: HourClock, allowed_lateness: int | None, max_future: int, started: int
    ) -> None:
        super().__init__()
        self._want_ids, self._clock = want_ids, clock
        self._max_future, self._started = max_future, started
        self._allowed = 2**60 if allowed_lateness is None else allowed_lateness
        self._final: frozenset[str] = frozenset()

    def start_bundle(self) -> None:
        super().start_bundle()
        self._counts = {"read": 0, "rejected": 0, "late": 0, "balance": 0, "broken": 0}
        self._found = math.inf

    def finish_bundle(self) -> Iterator[Any]:
        yield from super().finish_bundle()
        counts = self._counts
        local_run.arrivals.add(self._found, counts["read"], counts["read"] - counts["rejected"] - counts["late"])
        if any(counts.values()):
            yield beam.pvalue.TaggedOutput(COUNTS, in_global_window(count(**counts)))

    def process(
        self, block: AnyBlock, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        self._found = min(self._found, float(timestamp))
        yield from super().process((block, float(timestamp)), timestamp, window)

    def work(self, found: tuple[AnyBlock, float]) -> Any:
        block, when = found
        try:
            batch = block.decode(self._want_ids, None)
        except InputError as error:
            batch = BrokenBlock(block.source, str(error), balance=block.balance).decode(self._want_ids, None)
        batch = refuse_future(batch, block, self._max_future)
        on_time, late = split_late(batch, block.arrived, self._allowed, self._clock, when, self._started, self._final)
        return block, on_time, late, tuple(late_rejects(late, block, self._clock, self._allowed, when))

    def emit(self, result: Any) -> Iterator[Any]:
        block, batch, late, lost = result
        self._counts["read"] += batch.read
        self._counts["rejected"] += batch.rejected
        self._counts["late"] += len(late.codes)
        self._add_balance(block, batch)
        rejects = (*batch.rejects, *lost)
        if rejects:
            yield beam.pvalue.TaggedOutput(REJECTS, (block.arrived, rejects))
        if len(batch.codes):
            yield batch

    def _add_balance(self, block: AnyBlock, batch: Batch) -> None:
        self._counts["balance"] += batch.balance
        self._counts["broken"] += isinstance(block, BrokenBlock) and block.in_part


class _KeepStream(_DecodeStream):
    """As _DecodeStream, but each block is kept in the ledger, before anything of it goes on, or was so before."""

    def __init__(self, job: StreamJob, want_ids: bool, clock: HourClock) -> None:
        super().__init__(want_ids, clock, job.allowed_lateness_seconds, job.max_future_seconds, job.started)
        self._job = job

    def setup(self) -> None:
        """Hours that an earlier run closed stay closed."""
        self._final = final_hours(self._job.output)

    def work(self, found: tuple[AnyBlock, float]) -> Any:
        decoded = super().work(found)
        if ledger_of(self._job.output).has(block_name(found[0])):
            return decoded, None
        return decoded, contribute(self._job, self._clock, *decoded)

    def emit(self, result: Any) -> Iterator[Any]:
        decoded, contribution = result
        block, batch, *_ = decoded
        if contribution is None:
            self._add_balance(block, batch)
        elif ledger_of(self._job.output).add(contribution):
            yield from super().emit(decoded)


@dataclasses.dataclass
class DecodeStream(beam.PTransform):  # type: ignore[misc]
    """Decodes blocks of a stream: PCollection[AnyBlock] -> a dict of PCollections.

    batches (main): Batch, the events in time. REJECTS: tuple[int, tuple[Reject, ...]], when the file of a block was
    written or its messages were published, Unix seconds, and the block's rejects and late events.
    COUNTS: Counted, of a bundle. max_future: seconds that events may be ahead of when they came.
    keep: a job in whose ledger the blocks are kept. started: see split_late; timestamps are when blocks were found.
    """

    want_ids: bool
    clock: HourClock
    allowed_lateness: int | None = None
    max_future: int = MAX_FUTURE_SECONDS
    keep: StreamJob | None = None
    started: int = 0

    def expand(self, blocks: beam.PCollection[AnyBlock]) -> Any:
        decode = _DecodeStream(self.want_ids, self.clock, self.allowed_lateness, self.max_future, self.started)
        if self.keep:
            decode = _KeepStream(self.keep, self.want_ids, self.clock)
        outputs = blocks | "Decode" >> beam.ParDo(decode).with_outputs(REJECTS, COUNTS, main="batches")
        outputs.batches.element_type = Batch
        outputs[COUNTS].element_type = convert_to_beam_type(Counted)
        outputs[REJECTS].element_type = convert_to_beam_type(tuple[int, tuple[Reject, ...]])
        return outputs


class LogRejects(beam.DoFn):  # type: ignore[misc]
    """Logs one line a block, where nobody keeps rejects: tuple[int, tuple[Reject, ...]] -> nothing."""

    def process(self, found: tuple[int, tuple[Reject, ...]]) -> None:
        """Logs."""
        _, rejects = found
        tally = Tally(len(rejects), len(rejects), first_rejects(rejects))
        logging.getLogger(__name__).warning("%s", explain_rejects(tally))
