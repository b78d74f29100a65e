"""Counters: their namespaces, and what a finished run counted."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

from apache_beam.metrics import Metrics, MetricsFilter

from pipeline.model.tally import Summary

METRICS = "report"
"""Namespace of the counters of all workers: read, counted, rejected, duplicate (records), and what streams add."""


TOTALS = "totals"
"""Namespace of the counters of a finished batch: read, counted, rejected, duplicate (records), hours (rows).

They are counted once, at the end. Prism loses counters of bundles that end at about the same time as the first.
"""


def counter(name: str) -> Any:
    """A counter of this project."""
    return Metrics.counter(METRICS, name)


def summarize(result: Any, namespace: str) -> Summary:
    """The counters of a run, those of a namespace."""
    found = result.metrics().query(MetricsFilter().with_namespace(namespace))["counters"]
    counts: Counter[str] = Counter()
    for counter in found:  # one a step
        counts[counter.key.metric.name] += counter.result or 0
    return summary_of(counts)


def summary_of(counts: Mapping[str, int]) -> Summary:
    """Counters by their names; those that are missing are 0."""
    return Summary(*(counts.get(field.name, 0) for field in dataclasses.fields(Summary)))
