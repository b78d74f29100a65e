"""Counters that add up on every engine."""

import apache_beam as beam
import pytest

from pipeline.engine import counters
from pipeline.engine.counters import KeepCounters, count
from pipeline.engine.metrics import METRICS, summarize
from tests import support


@pytest.mark.parametrize("runner", support.RUNNERS)
def test_amounts_add_up_and_nothing_comes_out(runner: str) -> None:
    came: list[None] = []
    counters.totals.clear()
    pipeline = support.beam_pipeline(runner)
    amounts = [count(read=3, rejected=1), count(read=4), count(duplicate=2)]
    _ = pipeline | beam.Create(amounts) | KeepCounters() | beam.Map(support.Collect(came))
    result = pipeline.run()
    result.wait_until_finish()
    assert came == []
    assert counters.totals == {"read": 7, "rejected": 1, "duplicate": 2}
    if runner == "FnApiRunner":  # the other knows but the first bundle
        summary = summarize(result, METRICS)
        assert (summary.read, summary.rejected, summary.duplicate) == (7, 1, 2)
