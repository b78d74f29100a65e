"""Streams that go on after any end: blocks are kept in the ledger as they are decoded, a new run begins with those."""

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from pipeline.engine.local_run import local_run
from pipeline.engine.metrics import COUNTS, Counted, count
from pipeline.formats.decoding import AnyBlock
from pipeline.model.duplicates import event_keys, key_events
from pipeline.model.events import Batch
from pipeline.model.hour_ids import Place, ids_by_hour
from pipeline.model.hours import HourClock
from pipeline.model.table import count_batch, split_hours
from pipeline.stream.job import StreamJob
from pipeline.stream.ledger import Contribution, block_name, ledger_of

HOURS, IDS = "hours", "ids"
"""Tags of side outputs of EarlierRuns."""


def contribute(job: StreamJob, clock: HourClock, block: AnyBlock, batch: Batch, late: Batch) -> Contribution:
    """What a block adds to the job's ledger."""
    name, read, lost = block_name(block), batch.read, len(late.codes)
    if job.deduplicate:
        return Contribution(name, read, batch.rejected, lost, events=event_keys(batch))
    counts = tuple(split_hours(count_batch(batch, clock), clock)) if len(batch.codes) else ()
    ids = tuple(ids_by_hour(batch, clock, job.id_parts)) if job.ids_output and counts else ()
    return Contribution(name, read, batch.rejected, lost, counts, ids)


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
