"""Streams that go on after any end: blocks are kept in the ledger as they are decoded, a new run begins with those."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from pipeline.engine.local_run import local_run
from pipeline.engine.metrics import COUNTS, Counted, count
from pipeline.engine.prism import SinkDoFn
from pipeline.formats.decoding import AnyBlock
from pipeline.model.duplicates import event_keys, key_events
from pipeline.model.events import Batch, Reject
from pipeline.model.hour_ids import Place, ids_by_hour
from pipeline.model.hours import HourClock
from pipeline.model.table import count_batch, split_hours
from pipeline.stream.hour_files import AtPace, write_lines
from pipeline.stream.job import StreamJob
from pipeline.stream.ledger import Contribution, block_name, ledger_of
from pipeline.transforms.format import reject_lines

HOURS, IDS = "hours", "ids"
"""Tags of side outputs of EarlierRuns."""


def contribute(
    job: StreamJob, clock: HourClock, block: AnyBlock, batch: Batch, late: Batch, lost: tuple[Reject, ...]
) -> Contribution:
    """What a block adds to the job's ledger. lost: late, as rejects."""
    rejects = (*batch.rejects, *lost) if job.rejects_output else ()
    new = Contribution(
        block_name(block),
        batch.read,
        batch.rejected,
        len(late.codes),
        rejects=reject_lines(rejects)[1] if rejects else b"",
    )
    if job.report.deduplicate:
        return new._replace(events=event_keys(batch))
    counts = tuple(split_hours(count_batch(batch, clock), clock)) if len(batch.codes) else ()
    ids = tuple(ids_by_hour(batch, clock, job.id_parts)) if job.ids_output and counts else ()
    return new._replace(counts=counts, ids=ids)


def _write_rejects(job: StreamJob) -> None:
    if job.rejects_output:
        ledger_of(job.output).write_rejects(partial(write_lines, job.rejects_output, job.token))


@contextlib.contextmanager
def rejects_written(job: StreamJob) -> Iterator[None]:
    """Writes what the job's ledger holds of rejects before a run and after it, if it has a ledger."""
    if not job.resume:
        yield
        return
    _write_rejects(job)
    try:
        yield
    finally:
        _write_rejects(job)


class _WriteKept(SinkDoFn):
    def __init__(self, job: StreamJob) -> None:
        self._job = job

    def process(self, _: Any) -> None:
        _write_rejects(self._job)


@dataclasses.dataclass
class WriteKeptRejects(beam.PTransform):  # type: ignore[misc]
    """Writes rejects out of the job's ledger at the pace of its reports: PCollection[Any] -> PCollection[None].

    What comes but says that there are some.
    """

    job: StreamJob

    def expand(self, rejects: beam.PCollection[Any]) -> beam.PCollection[None]:
        signs = rejects | "Sign" >> beam.Map(lambda _: (None, True)).with_output_types(tuple[None, bool])
        panes = signs | AtPace(self.job.early_firing_seconds)
        return panes | "Write" >> beam.ParDo(_WriteKept(self.job)).with_output_types(None)


class _Earlier(beam.DoFn):  # type: ignore[misc]
    def __init__(self, folder: str) -> None:
        self._folder = folder

    def process(self, _: bytes) -> Iterator[Any]:
        ledger = ledger_of(self._folder)
        read, rejected, late = ledger.tally()
        if read:
            local_run.arrivals.add(time.time(), 0, read - rejected - late)
            yield beam.pvalue.TaggedOutput(COUNTS, count(read=read, rejected=rejected, late=late))
        yield from map(key_events, ledger.events())
        yield from (beam.pvalue.TaggedOutput(HOURS, row) for row in ledger.counts())
        yield from (beam.pvalue.TaggedOutput(IDS, place) for place in ledger.ids())


@dataclasses.dataclass
class EarlierRuns(beam.PTransform):  # type: ignore[misc]
    """What a folder's ledger holds of earlier runs: Pipeline -> a dict of PCollections.

    batches (main): Batch, where duplicates are dropped. HOURS: an hour's start and counts; IDS: a place and its packed
    ids, where not. COUNTS: Counted, all records.
    """

    folder: str

    def expand(self, pipeline: beam.Pipeline) -> Any:
        earlier = beam.ParDo(_Earlier(self.folder)).with_outputs(HOURS, IDS, COUNTS, main="batches")
        outputs = pipeline | "Once" >> beam.Impulse() | "Earlier" >> earlier
        outputs.batches.element_type = Batch
        outputs[COUNTS].element_type = convert_to_beam_type(Counted)
        outputs[IDS].element_type = convert_to_beam_type(tuple[Place, bytes])
        return outputs
