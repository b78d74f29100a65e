"""Decoding in a stream, which no input may stop; on this machine decoded blocks are committed to the ledger."""

import dataclasses
import logging
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from pipeline.engine.metrics import COUNTS, Counted, count
from pipeline.engine.run_state import run_state
from pipeline.engine.spill import in_global_window
from pipeline.engine.threads import ThreadedDoFn
from pipeline.errors import InputError
from pipeline.formats.decoding import AnyBlock, BrokenBlock
from pipeline.model.duplicates import event_keys
from pipeline.model.events import Batch, Ids, Reject
from pipeline.model.hour_ids import Place, ids_by_hour, split_ids
from pipeline.model.latency import steady_time
from pipeline.model.table import HourCounts, count_batch, split_hours
from pipeline.model.tally import Tally, explain_rejects, first_rejects
from pipeline.stream.job import StreamJob
from pipeline.stream.lateness import late_rejects, reject_future_events, split_late
from pipeline.stream.ledger import Contribution, ledger_of
from pipeline.transforms.decode import REJECTS
from pipeline.transforms.format import reject_lines

_HELD_BYTES = 64 * 1024 * 1024  # of a bundle's ids, events and rejects, until they are committed
_NEVER = 2**60


class _Decoded(NamedTuple):
    """late: how many events. rejects: of the batch, and the late events."""

    block: AnyBlock
    batch: Batch
    late: int
    rejects: tuple[Reject, ...]


class _DecodeStream(ThreadedDoFn):
    """As DecodeBlocks, but invalid input becomes a reject."""

    def __init__(self, job: StreamJob, want_ids: bool) -> None:
        super().__init__()
        self._job, self._want_ids, self._clock = job, want_ids, job.report.clock
        self._allowed = _NEVER if job.allowed_lateness_seconds is None else job.allowed_lateness_seconds

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

    def work(self, found: tuple[AnyBlock, float]) -> Any:
        return self._decode(*found, frozenset()), found[1]

    def emit(self, result: Any) -> Iterator[Any]:
        decoded, found = result
        yield from self._outputs(decoded, found or steady_time())  # without a time while a watch holds its watermark

    def _decode(self, block: AnyBlock, found: float, final: frozenset[int]) -> _Decoded:
        try:
            batch = block.decode(self._want_ids, None)
        except InputError as error:
            batch = BrokenBlock(block.source, str(error)).decode(self._want_ids, None)
        batch = reject_future_events(batch, block, self._job.max_future_seconds)
        on_time, late = split_late(batch, block.arrived, self._allowed, self._clock, found, final)
        lost = tuple(late_rejects(late, block, self._clock, self._allowed, found))
        return _Decoded(block, on_time, len(late.codes), (*on_time.rejects, *lost))

    def _outputs(self, decoded: _Decoded, found: float) -> Iterator[Any]:
        """found: Unix seconds."""
        _, batch, late, rejects = decoded
        self._counts.update(read=batch.read, rejected=batch.rejected, late=late)
        self._found = min(self._found, found)
        if rejects:
            yield beam.pvalue.TaggedOutput(REJECTS, rejects)
        if len(batch.codes):
            yield batch


class _Kept(NamedTuple):
    """What a block adds to the ledger, beside its counters."""

    counts: tuple[tuple[int, HourCounts], ...] = ()
    ids: tuple[tuple[Place, bytes], ...] = ()
    events: tuple[tuple[int, Ids], ...] = ()
    rejects: bytes = b""


class _KeepStream(_DecodeStream):
    """As _DecodeStream, but commits what a bundle has decoded to the ledger; blocks that were committed are skipped."""

    def start_bundle(self) -> None:
        super().start_bundle()
        self._ledger = ledger_of(self._job.output)
        self._new, self._unreadable = Contribution(), dict[str, str]()

    def finish_bundle(self) -> Iterator[Any]:
        yield from super().finish_bundle()
        self._commit()
        for name, reason in self._unreadable.items():
            if name in self._ledger.open:
                self._ledger.abandon(name, reason)

    def work(self, found: tuple[AnyBlock, float]) -> Any:
        block, when = found
        file = self._ledger.open.get(block.source)
        if file is None or _is_unreadable(block) or self._ledger.has(file, _place(block)):
            return block, file, None, None
        decoded = self._decode(block, when, frozenset(self._ledger.final))
        return block, file, decoded, self._kept(decoded)

    def _kept(self, decoded: _Decoded) -> _Kept:
        batch, job = decoded.batch, self._job
        rejects = reject_lines(decoded.rejects)[1] if decoded.rejects and job.rejects_output else b""
        if not len(batch.codes):
            return _Kept(rejects=rejects)
        if job.report.deduplicate:
            return _Kept(events=tuple(split_ids(event_keys(batch), batch, self._clock)), rejects=rejects)
        counts = tuple(split_hours(count_batch(batch, self._clock), self._clock))
        ids = tuple(ids_by_hour(batch, self._clock, job.id_parts)) if job.ids_output else ()
        return _Kept(counts, ids, rejects=rejects)

    def emit(self, result: Any) -> Iterator[Any]:
        block, file, decoded, kept = result
        if file is None:  # of an attempt that was given up
            return
        if _is_unreadable(block):
            self._unreadable[block.source] = block.reason
            return
        file.broken |= isinstance(block, BrokenBlock) and block.in_part
        self._new.blocks.append((file, _place(block), block.balance, decoded is not None))
        if decoded is not None:
            self._keep(decoded, kept)
            yield from self._outputs(decoded, file.found)
            if self._new.nbytes > _HELD_BYTES:
                self._commit()

    def _keep(self, decoded: _Decoded, kept: _Kept) -> None:
        batch, new = decoded.batch, self._new
        new.tally.update(read=batch.read, rejected=batch.rejected, late=decoded.late)
        for hour, row in kept.counts:
            new.add_counts(hour, row)
        for place, packed in kept.ids:
            new.add_ids(place, packed)
        for hour, keys in kept.events:
            new.add_events(hour, keys)
        new.add_rejects(kept.rejects)

    def _commit(self) -> None:
        new, self._new = self._new, Contribution()
        if new.blocks:
            self._ledger.add(new)


def _is_unreadable(block: AnyBlock) -> bool:
    return isinstance(block, BrokenBlock) and block.unreadable


def _place(block: AnyBlock) -> str:
    """What tells a block from the others of its file."""
    return f"{type(block).__name__} {block.offset} {block.index} {block.balance}"


@dataclasses.dataclass
class DecodeStream(beam.PTransform):  # type: ignore[misc]
    """Decodes blocks of a stream: PCollection[AnyBlock] -> a dict of PCollections.

    batches (main): Batch, the events in time. REJECTS: tuple[Reject, ...], of a block, with its late events.
    COUNTS: Counted, of a bundle. Timestamps are when blocks were found. With a ledger each bundle is committed to it.
    """

    job: StreamJob
    want_ids: bool

    def expand(self, blocks: beam.PCollection[AnyBlock]) -> Any:
        decode = (_KeepStream if self.job.ledger else _DecodeStream)(self.job, self.want_ids)
        outputs = blocks | "Decode" >> beam.ParDo(decode).with_outputs(REJECTS, COUNTS, main="batches")
        outputs.batches.element_type = Batch
        outputs[COUNTS].element_type = convert_to_beam_type(Counted)
        outputs[REJECTS].element_type = convert_to_beam_type(tuple[Reject, ...])
        return outputs


class LogRejects(beam.DoFn):  # type: ignore[misc]
    """Logs one line a block, where no rejects are written: tuple[Reject, ...] -> nothing."""

    def process(self, rejects: tuple[Reject, ...]) -> None:
        """Logs."""
        tally = Tally(len(rejects), len(rejects), first_rejects(rejects))
        logging.getLogger(__name__).warning("%s", explain_rejects(tally))
