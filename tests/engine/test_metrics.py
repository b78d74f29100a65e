"""What a run counted, by the names of the counters and their namespace."""

import apache_beam as beam
from apache_beam.metrics import Metrics

from pipeline.engine.metrics import METRICS, TOTALS, counter, summarize, summary_of
from pipeline.model.tally import Summary
from tests import support


def test_counters_of_all_steps_add_up_in_their_namespace() -> None:
    def count(number: int) -> int:
        counter("read").inc(number)
        Metrics.counter(TOTALS, "hours").inc()
        return number

    pipeline = support.beam_pipeline()
    _ = pipeline | beam.Create([1, 2, 4]) | "One" >> beam.Map(count) | "Two" >> beam.Map(count)
    result = pipeline.run()
    result.wait_until_finish()
    assert summarize(result, METRICS).read == 14
    assert summarize(result, METRICS).hours == 0
    assert summarize(result, TOTALS).hours == 6


def test_counters_that_are_missing_are_0() -> None:
    assert summary_of({"read": 3, "other": 9}) == Summary(read=3, counted=0, rejected=0, hours=0)
