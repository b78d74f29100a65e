"""What a stream begins with: what the ledger has of earlier runs."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from pipeline.engine.metrics import COUNTS, Counted, count
from pipeline.engine.run_state import run_state
from pipeline.model.duplicates import key_events
from pipeline.model.events import Batch
from pipeline.model.hour_ids import Place
from pipeline.model.latency import steady_time
from pipeline.model.table import HourCounts
from pipeline.stream.ledger import ledger_of

HOURS, IDS = "hours", "ids"
"""Tags of side outputs of EarlierRuns."""


class _Earlier(beam.DoFn):  # type: ignore[misc]
    def __init__(self, folder: str) -> None:
        self._folder = folder

    def process(self, _: bytes) -> Iterator[Any]:
        ledger = ledger_of(self._folder)
        tally = ledger.earlier_tally
        if tally["read"]:
            waiting = tally["read"] - tally["rejected"] - tally["late"] - tally["counted"]
            run_state.latency.add(steady_time(), 0, waiting)
            yield beam.pvalue.TaggedOutput(COUNTS, count(**tally))
        yield from map(key_events, ledger.events())
        yield from (beam.pvalue.TaggedOutput(HOURS, row) for row in ledger.counts())
        yield from (beam.pvalue.TaggedOutput(IDS, place) for place in ledger.ids())


@dataclasses.dataclass
class EarlierRuns(beam.PTransform):  # type: ignore[misc]
    """What a folder's ledger holds of earlier runs: Pipeline -> a dict of PCollections.

    batches (main): Batch, where duplicates are dropped. HOURS: an hour's start and counts; IDS: a place and its packed
    ids, where not; all of hours that are not final. COUNTS: Counted, all other records.
    """

    folder: str

    def expand(self, pipeline: beam.Pipeline) -> Any:
        earlier = beam.ParDo(_Earlier(self.folder)).with_outputs(HOURS, IDS, COUNTS, main="batches")
        outputs = pipeline | "Once" >> beam.Impulse() | "Earlier" >> earlier
        outputs.batches.element_type = Batch
        outputs[COUNTS].element_type = convert_to_beam_type(Counted)
        outputs[HOURS].element_type = convert_to_beam_type(tuple[int, HourCounts])
        outputs[IDS].element_type = convert_to_beam_type(tuple[Place, bytes])
        return outputs
