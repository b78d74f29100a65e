"""Decoding: blocks become batches of events, and rejects."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from pipeline.engine.metrics import counter
from pipeline.engine.threads import ThreadedDoFn
from pipeline.formats.decoding import AnyBlock, Block, too_many
from pipeline.model.events import Batch, Reject, batch_events
from pipeline.model.tally import SHOWN, Tally, merge_tallies, refuse_rejects, tally_batch

REJECTS = "rejects"
"""Tag of the side output of DecodeBlocks."""


_SMALL = 4096  # bytes: a tenth of a report of six events was the change of threads


class _DecodeBlocks(ThreadedDoFn):
    def __init__(self, want_ids: bool, max_rejects: int | None) -> None:
        super().__init__()
        self._want_ids, self._max_rejects = want_ids, max_rejects
        self._read, self._rejected = counter("read"), counter("rejected")

    def work(self, block: AnyBlock) -> Batch:
        return block.decode(self._want_ids, self._max_rejects)

    def is_small(self, block: AnyBlock) -> bool:
        return isinstance(block, Block) and len(block.data) <= _SMALL

    def start_bundle(self) -> None:
        super().start_bundle()
        self._tally = Tally()

    def emit(self, batch: Batch) -> Iterator[Any]:
        if batch.rejected and self._max_rejects is not None:
            self._give_up_at_many(batch)
        self._read.inc(batch.read)
        self._rejected.inc(batch.rejected)
        if batch.rejects:
            yield beam.pvalue.TaggedOutput(REJECTS, batch.rejects)
        yield batch

    def _give_up_at_many(self, batch: Batch) -> None:
        self._tally = merge_tallies([self._tally, tally_batch(batch)])
        if too_many(self._tally.rejected, self._max_rejects):
            refuse_rejects(self._tally._replace(partial=True))


@dataclasses.dataclass
class DecodeBlocks(beam.PTransform):  # type: ignore[misc]
    """Decodes blocks: PCollection[AnyBlock] -> a dict of PCollections.

    batches (main): Batch, the valid events. REJECTS: tuple[Reject, ...], of one block (all with keep_rejects, the
    first few without, none with skip_rejects). Raises InputError where a source as a whole cannot be read, and without
    keep_rejects RejectsError where a bundle has too_many().
    """

    want_ids: bool = True
    keep_rejects: bool = True
    skip_rejects: bool = False

    def expand(self, blocks: beam.PCollection[AnyBlock]) -> Any:
        decode = _DecodeBlocks(self.want_ids, None if self.keep_rejects else 0 if self.skip_rejects else SHOWN)
        outputs = blocks | "Decode" >> beam.ParDo(decode).with_outputs(REJECTS, main="batches")
        outputs.batches.element_type = Batch
        outputs[REJECTS].element_type = tuple[Reject, ...]
        return outputs


class BatchEvents(beam.PTransform):  # type: ignore[misc]
    """Packs decoded events: PCollection[dict] -> PCollection[Batch]. Raises EventError for an invalid event."""

    def expand(self, events: beam.PCollection[dict[str, Any]]) -> beam.PCollection[Batch]:
        return (
            events
            | "Group" >> beam.BatchElements(min_batch_size=1, max_batch_size=10_000)
            | "Pack" >> beam.Map(batch_events).with_output_types(Batch)
        )
