"""Counters that add up on every engine, by passing them through one key."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.coders import BooleanCoder
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec

from pipeline.engine.metrics import counter

Counted = tuple[int, dict[str, int]]  # the only key, what to add to which counter

COUNTS = "counts"
"""Tag of the side outputs that are for the counters."""

_KEY = 0

totals: Counter[str] = Counter()
"""What was counted in this process since this was cleared. DirectRunner knows but the first bundle of each step."""


def count(**amounts: int) -> Counted:
    """What to add to each counter."""
    return _KEY, amounts


class _KeepCounters(beam.DoFn):  # type: ignore[misc]
    _STATE = ReadModifyWriteStateSpec("unused", BooleanCoder())  # what has state has its bundles one after the other

    def process(self, element: Counted, _: Any = beam.DoFn.StateParam(_STATE)) -> Iterator[None]:
        for name, amount in element[1].items():
            counter(name).inc(amount)
            totals[name] += amount
        yield from ()


class KeepCounters(beam.PTransform):  # type: ignore[misc]
    """Adds to counters: PCollection[Counted] -> PCollection[None], empty. For a few elements a bundle.

    Where several bundles of a stage end before Prism has learned the names of their counters, it keeps the last
    bundle's and drops the others': of a million events found at the start it showed half.
    """

    def expand(self, amounts: beam.PCollection[Counted]) -> beam.PCollection[None]:
        return amounts | "Keep" >> beam.ParDo(_KeepCounters()).with_output_types(None)
