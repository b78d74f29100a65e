"""Counters: they add up on every engine; what a run counted, by their names and their namespace."""

import apache_beam as beam
import pytest
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.portability.api import beam_runner_api_pb2

from pipeline.engine import metrics
from pipeline.engine.metrics import METRICS, TOTALS, KeepCounters, count, counter, summarize, summary_of
from pipeline.engine.run_state import run_state
from pipeline.model.tally import Summary
from tests import support


def test_counters_of_all_steps_add_up_in_their_namespace() -> None:
    def add(number: int) -> int:
        counter("read").inc(number)
        Metrics.counter(TOTALS, "hours").inc()
        return number

    pipeline = support.beam_pipeline()
    _ = pipeline | beam.Create([1, 2, 4]) | "One" >> beam.Map(add) | "Two" >> beam.Map(add)
    result = pipeline.run()
    result.wait_until_finish()
    assert summarize(result, METRICS).read == 14
    assert summarize(result, METRICS).hours == 0
    assert summarize(result, TOTALS).hours == 6


def test_counters_that_are_missing_are_0() -> None:
    assert summary_of({"read": 3, "other": 9}) == Summary(read=3, counted=0, rejected=0, hours=0)


@pytest.mark.parametrize("runner", support.RUNNERS)
def test_amounts_add_up_and_nothing_comes_out(runner: str) -> None:
    came: list[None] = []
    run_state.clear()
    pipeline = support.beam_pipeline(runner)
    amounts = [count(read=3, rejected=1), count(read=4), count(duplicate=2)]
    _ = pipeline | beam.Create(amounts) | KeepCounters() | beam.Map(support.Collect(came))
    result = pipeline.run()
    result.wait_until_finish()
    assert came == []
    assert run_state.counted == {"read": 7, "rejected": 1, "duplicate": 2}
    if runner == "FnApiRunner":  # the other knows but the first bundle
        summary = summarize(result, METRICS)
        assert (summary.read, summary.rejected, summary.duplicate) == (7, 1, 2)


@pytest.mark.parametrize(
    ("runner", "direct"),
    [
        ("DataflowRunner", True),
        ("apache_beam.runners.portability.flink_runner.FlinkRunner", True),
        ("SparkRunner", True),
        ("PrismRunner", False),
        ("PortableRunner", False),  # which may be Prism's
        ("DirectRunner", False),
    ],
)
def test_only_engines_that_may_drop_counters_pass_them_through_one_key(runner: str, direct: bool) -> None:
    pipeline = beam.Pipeline("FnApiRunner", options=PipelineOptions())
    pipeline.options.view_as(StandardOptions).runner = runner
    _ = pipeline | beam.Create([count(read=3)]) | KeepCounters()
    graph = pipeline.to_runner_api().components.transforms.values()
    dofns = [
        beam_runner_api_pb2.ParDoPayload.FromString(t.spec.payload)
        for t in graph
        if t.spec.urn == "beam:transform:pardo:v1"
    ]
    assert any(dofn.state_specs for dofn in dofns) is not direct


def test_counters_that_are_added_to_directly_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "keeps_counters", lambda options: True)
    test_amounts_add_up_and_nothing_comes_out("FnApiRunner")
