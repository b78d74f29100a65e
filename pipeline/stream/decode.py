"""Decodes the blocks of a stream; invalid input is rejected, never an error. Local streams record it in the ledger."""

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import apache_beam as beam

from pipeline.engine.coders import typed
from pipeline.engine.metrics import COUNTS, Counted, count
from pipeline.engine.run_state import run_state
from pipeline.engine.spill import in_global_window
from pipeline.engine.threads import ThreadedDoFn
from pipeline.errors import InputError
from pipeline.formats.decoding import AnyBlock, BrokenBlock
from pipeline.model.duplicates import decode_keys, encode_keys
from pipeline.model.events import Batch, Reject
from pipeline.model.ids import HourShard, ids_by_hour, merge_packed
from pipeline.model.latency import steady_time
from pipeline.model.table import HourCounts, count_batch, split_hours
from pipeline.stream.job import StreamJob
from pipeline.stream.lateness import late_rejects, reject_future_events, split_late
from pipeline.stream.ledger import Contribution, OpenFile, ledger_of
from pipeline.transforms.decode import REJECTS
from pipeline.transforms.format import reject_lines

_COMMIT_BYTES = 64 * 1024 * 1024  # commit sets and rejects of this size before the bundle ends

EARLIER_COUNTS, EARLIER_IDS = "counts of hours", "ids of hours"
"""Tags of outputs of EarlierRuns."""


class _Decoded(NamedTuple):
    """A decoded block: events on time, number of late events, and rejects, late events included."""

    batch: Batch
    late: int
    rejects: tuple[Reject, ...]


class _DecodeStream(ThreadedDoFn):
    """Decodes blocks; a block that cannot be decoded becomes a reject."""

    def __init__(self, job: StreamJob, want_ids: bool) -> None:
        super().__init__()
        self._job, self._want_ids, self._clock = job, want_ids, job.report.clock

    def start_bundle(self) -> None:
        super().start_bundle()
        self._counts = Counter[str]()
        self._found = math.inf

    def finish_bundle(self) -> Iterator[Any]:
        yield from super().finish_bundle()
        counts = self._counts
        if counts:
            run_state.latency.add(self._found, counts["read"], counts["read"] - counts["rejected"] - counts["late"])
            yield beam.pvalue.TaggedOutput(COUNTS, in_global_window(count(**counts)))

    def process(
        self, block: AnyBlock, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        yield from super().process((block, float(timestamp)), timestamp, window)

    def work(self, element: tuple[AnyBlock, float]) -> Any:
        block, found = element
        return self._decode(block, found), found

    def emit(self, result: Any) -> Iterator[Any]:
        decoded, found = result
        yield from self._outputs(decoded, found or steady_time())  # 0 while the watch holds the watermark

    def _decode(self, block: AnyBlock, found: float, final: Collection[int] = ()) -> _Decoded:
        try:
            batch = block.decode(self._want_ids, None)
        except InputError as error:
            batch = BrokenBlock(block.source, str(error)).decode(self._want_ids, None)
        batch = reject_future_events(batch, block, self._job.max_future_seconds)
        allowed = self._job.allowed_lateness_seconds
        if allowed is None:
            return _Decoded(batch, 0, batch.rejects)
        on_time, late = split_late(batch, block.arrived, allowed, self._clock, found, final)
        lost = late_rejects(late, block, self._clock, allowed, found)
        return _Decoded(on_time, len(late.codes), (*on_time.rejects, *lost))

    def _outputs(self, decoded: _Decoded, found: float) -> Iterator[Any]:
        batch, late, rejects = decoded
        self._counts.update(read=batch.read, rejected=batch.rejected, late=late)
        self._found = min(self._found, found)
        if rejects:
            yield beam.pvalue.TaggedOutput(REJECTS, rejects)
        if len(batch.codes):
            yield batch


class _DecodeToLedger(_DecodeStream):
    """Commits each bundle to the ledger, and skips blocks that the ledger has."""

    def start_bundle(self) -> None:
        super().start_bundle()
        self._ledger = ledger_of(self._job.output)
        self._new, self._unreadable = Contribution(), dict[str, str]()

    def finish_bundle(self) -> Iterator[Any]:
        yield from super().finish_bundle()
        self._commit()
        for name, reason in self._unreadable.items():
            if name in self._ledger.open:
                self._ledger.abandon_file(name, reason)

    def work(self, element: tuple[AnyBlock, float]) -> Any:
        block, found = element
        file = self._ledger.open.get(block.source)
        if file is None or _is_unreadable(block) or _name(block) in file.counted:
            return block, file, None, Contribution()
        decoded = self._decode(block, found, self._ledger.final)
        return block, file, decoded, self._contribution(decoded)

    def _contribution(self, decoded: _Decoded) -> Contribution:
        batch, job = decoded.batch, self._job
        new = Contribution(Counter(read=batch.read, rejected=batch.rejected, late=decoded.late))
        if decoded.rejects and job.rejects_output:
            new.rejects = [reject_lines(decoded.rejects)[1]]
        if len(batch.codes) and job.report.deduplicate:
            keys = dataclasses.replace(batch, ids=encode_keys(batch))
            new.sets = {shard: [packed] for shard, packed in ids_by_hour(keys, self._clock, job.id_parts)}
        elif len(batch.codes):
            new.counts = dict(split_hours(count_batch(batch, self._clock), self._clock))
            ids = ids_by_hour(batch, self._clock, job.id_parts) if job.ids_output else ()
            new.sets = {shard: [packed] for shard, packed in ids}
        return new

    def emit(self, result: tuple[AnyBlock, OpenFile | None, _Decoded | None, Contribution]) -> Iterator[Any]:
        block, file, decoded, new = result
        if file is None:  # a block of an abandoned attempt
            return
        if _is_unreadable(block):
            self._unreadable[block.source] = block.reason  # type: ignore[attr-defined]
            return
        file.broken |= isinstance(block, BrokenBlock) and block.is_partial
        new.blocks.append((file, _name(block), block.coverage_delta, decoded is not None))
        self._new.add(new)
        if decoded is not None:
            yield from self._outputs(decoded, file.found)
        if self._new.nbytes > _COMMIT_BYTES:
            self._commit()

    def _commit(self) -> None:
        new, self._new = self._new, Contribution()
        if new.blocks:
            self._ledger.add(new)


def _is_unreadable(block: AnyBlock) -> bool:
    return isinstance(block, BrokenBlock) and block.is_retryable


def _name(block: AnyBlock) -> str:
    """Returns a name that is unique among the blocks of a file."""
    return f"{type(block).__name__} {block.offset} {block.index} {block.coverage_delta}"


@dataclasses.dataclass
class DecodeStream(beam.PTransform):  # type: ignore[misc]
    """Decodes blocks of a stream: PCollection[AnyBlock] -> a dict of PCollections.

    batches (main): Batch, the events on time. REJECTS: tuple[Reject, ...] of a block, late events included.
    COUNTS: Counted of a bundle. Timestamps are those of the blocks. With a ledger, each bundle is committed to it.
    """

    job: StreamJob
    want_ids: bool

    def expand(self, blocks: beam.PCollection[AnyBlock]) -> Any:
        decode = (_DecodeToLedger if self.job.ledger else _DecodeStream)(self.job, self.want_ids)
        outputs = blocks | "Decode" >> beam.ParDo(decode).with_outputs(REJECTS, COUNTS, main="batches")
        typed(outputs.batches, Batch)
        typed(outputs[COUNTS], Counted)
        typed(outputs[REJECTS], tuple[Reject, ...])
        return outputs


class _ReadLedger(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: StreamJob) -> None:
        self._job = job

    def process(self, _: bytes) -> Iterator[Any]:
        ledger = ledger_of(self._job.output)
        tally = ledger.earlier_tally
        if tally["read"]:
            waiting = tally["read"] - tally["rejected"] - tally["late"] - tally["counted"]
            run_state.latency.add(steady_time(), 0, waiting)
            yield beam.pvalue.TaggedOutput(COUNTS, count(**tally))
        yield from (beam.pvalue.TaggedOutput(EARLIER_COUNTS, item) for item in ledger.earlier_counts.items())
        for shard, packed in ledger.earlier_sets():
            if not self._job.report.deduplicate:
                yield beam.pvalue.TaggedOutput(EARLIER_IDS, (shard, packed))
                continue
            keys, events = merge_packed(packed)
            yield beam.pvalue.TaggedOutput(COUNTS, count(duplicate=events - len(keys.ends)))
            yield decode_keys(keys)


@dataclasses.dataclass
class EarlierRuns(beam.PTransform):  # type: ignore[misc]
    """Reads what earlier runs recorded in the job's ledger: Pipeline -> a dict of PCollections.

    COUNTS: Counted of records outside open hours. Events of open hours: batches (main): Batch, if duplicates are
    dropped; otherwise EARLIER_COUNTS: tuple[int, HourCounts], and EARLIER_IDS: tuple[HourShard, bytes].
    """

    job: StreamJob

    def expand(self, pipeline: beam.Pipeline) -> Any:
        read = beam.ParDo(_ReadLedger(self.job)).with_outputs(EARLIER_COUNTS, EARLIER_IDS, COUNTS, main="batches")
        outputs = pipeline | "Once" >> beam.Impulse() | "Earlier" >> read
        typed(outputs.batches, Batch)
        typed(outputs[COUNTS], Counted)
        typed(outputs[EARLIER_COUNTS], tuple[int, HourCounts])
        typed(outputs[EARLIER_IDS], tuple[HourShard, bytes])
        return outputs
