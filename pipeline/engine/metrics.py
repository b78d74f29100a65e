"""Counters: their namespaces, a transform that adds to them reliably on every runner, and their final values."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.coders import BooleanCoder
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec

from pipeline.engine.prism import SinkDoFn
from pipeline.engine.run_state import run_state
from pipeline.engine.runners import keeps_counters
from pipeline.model.tally import Summary

METRICS = "report"
"""Namespace of the counters of all workers: read, counted, rejected, duplicate (records), and those of streams."""

TOTALS = "totals"
"""Namespace of the counters of a finished batch: read, counted, rejected, duplicate (records), hours (rows).

They are counted once, at the end, since Prism loses counters of bundles that end at about the same time as the first.
"""

Counted = tuple[int, dict[str, int]]  # a constant key, amounts by counter

COUNTS = "counts"
"""Tag of outputs of Counted elements."""

_KEY = 0


def counter(name: str) -> Any:
    """Returns a counter in the namespace METRICS."""
    return Metrics.counter(METRICS, name)


def count(**amounts: int) -> Counted:
    """Returns an input element of KeepCounters."""
    return _KEY, amounts


def _add(element: Counted) -> Iterator[None]:
    for name, amount in element[1].items():
        counter(name).inc(amount)
        run_state.counted[name] += amount
    yield from ()


class _KeepCounters(SinkDoFn):
    _STATE = ReadModifyWriteStateSpec("unused", BooleanCoder())  # state serializes the bundles of a key

    def process(self, element: Counted, _: Any = beam.DoFn.StateParam(_STATE)) -> Iterator[None]:
        yield from _add(element)


class KeepCounters(beam.PTransform):  # type: ignore[misc]
    """Adds to counters: PCollection[Counted] -> PCollection[None], empty. For a few elements per bundle.

    If several bundles of a stage end before Prism knows the names of their counters, it keeps only the last bundle's:
    of a million initial events it showed half. So they pass through a single key, except on runners that keep all
    counters, where that would be a shuffle to one worker.
    """

    def expand(self, amounts: beam.PCollection[Counted]) -> beam.PCollection[None]:
        if keeps_counters(amounts.pipeline.options):
            return amounts | "Add" >> beam.FlatMap(_add).with_output_types(None)
        return amounts | "Keep" >> beam.ParDo(_KeepCounters()).with_output_types(None)


def summarize(result: Any, namespace: str) -> Summary:
    """Returns a run's counters in a namespace."""
    found = result.metrics().query(MetricsFilter().with_namespace(namespace))["counters"]
    counts: Counter[str] = Counter()
    for counter in found:  # one per step
        counts[counter.key.metric.name] += counter.result or 0
    return summary_of(counts)


def summary_of(counts: Mapping[str, int]) -> Summary:
    """Converts counters by name to a summary; missing ones are 0."""
    return Summary(*(counts.get(field.name, 0) for field in dataclasses.fields(Summary)))
