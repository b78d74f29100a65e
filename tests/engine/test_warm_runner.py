"""Reports by a worker that stays: always what a run by a new worker gives."""

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import apache_beam as beam
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.worker import bundle_processor
from apache_beam.transforms.environments import EmbeddedPythonEnvironment
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import TimerSpec, on_timer
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.batch.graph import Job
from pipeline.batch.run import PreparedJob, run_job
from pipeline.engine import logs
from pipeline.engine import warm_runner as warm
from pipeline.errors import PipelineError
from pipeline.model.tally import Summary
from pipeline.storage.files import SIZE_UNKNOWN, InputFile
from tests.support import EXAMPLE_EVENTS, EXAMPLE_REPORT, HEADER, json_lines, line

OPTIONS = PipelineOptions(["--runner=FnApiRunner"])
SAMPLE = json_lines(EXAMPLE_EVENTS)
Outcome = tuple[Summary | str, dict[str, bytes]]


class Desk:
    """A folder with an input, a job for it and its outputs."""

    def __init__(self, folder: Path, ids: bool = False, rejects: bool = False) -> None:
        folder.mkdir()
        self.input = folder / "input"
        self.outputs = [folder / name for name in ("report", *["ids"] * ids, *["rejects"] * rejects)]
        more = {f"{path.name}_output": str(path) for path in self.outputs[1:]}
        self.job = Job((InputFile(str(self.input), SIZE_UNKNOWN, "input"),), str(self.outputs[0]), **more)
        self._expected: dict[bytes, Outcome] = {}

    def outcome(self, run: Callable[[], Summary], data: bytes) -> Outcome:
        """What a run gives for an input: its summary or its error, and the files it writes."""
        self.input.write_bytes(data)
        try:
            said: Summary | str = run()
        except PipelineError as error:
            said = f"{type(error).__name__}: {error}"
        written = {path.name: path.read_bytes() for path in self.outputs if path.exists()}
        for path in self.outputs:
            path.unlink(missing_ok=True)
        return said, written

    def expected(self, data: bytes) -> Outcome:
        """What a run by a new worker gives."""
        if data not in self._expected:
            self._expected[data] = self.outcome(lambda: run_job(self.job, OPTIONS), data)
        return self._expected[data]


@pytest.fixture(autouse=True)
def no_fallback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing was run by another worker behind the scenes."""
    yield
    assert not [record for record in caplog.records if record.name == warm.__name__]


INPUT = st.sampled_from([SAMPLE, b"", b"[]", b"[" + line() + b"]", b"x\n" + SAMPLE, b"[1", line("b", timestamp=2**40)])
INPUTS = st.lists(st.one_of(INPUT, st.just(SAMPLE * 3000)), min_size=2, max_size=20)


@pytest.fixture(scope="module", params=[(False, False), (True, False), (True, True)], ids=["report", "ids", "all"])
def desks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Desk, PreparedJob]:
    desk = Desk(tmp_path_factory.mktemp("desk") / "desk", *request.param)
    return desk, PreparedJob(desk.job, OPTIONS)


@settings(max_examples=20, deadline=None)
@given(inputs=INPUTS)
def test_any_row_of_inputs(desks: tuple[Desk, PreparedJob], inputs: list[bytes]) -> None:
    desk, prepared = desks
    for data in inputs:
        assert desk.outcome(prepared.run, data) == desk.expected(data)


def test_stages_are_set_up_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "desk")
    prepared = PreparedJob(desk.job, OPTIONS)
    with mock.patch.object(
        bundle_processor, "BundleProcessor", side_effect=bundle_processor.BundleProcessor
    ) as processor:
        desk.outcome(prepared.run, SAMPLE)
        stages = processor.call_count
        assert stages == 3  # read and count, sum, write: each is a tenth of a small report
        for _ in range(3):
            said, written = desk.outcome(prepared.run, SAMPLE)
            assert (said, written["report"].decode()) == (Summary(6, 6, 0, 3), EXAMPLE_REPORT)
        assert processor.call_count == stages
        assert str(desk.outcome(prepared.run, b"x")[0]).startswith("RejectsError: 1 of 1 ")
        assert desk.outcome(prepared.run, b"[]") == (Summary(0, 0, 0, 0), {"report": HEADER.encode()})
        assert processor.call_count == stages + 1  # the one that failed


class _AtTheEnd(beam.DoFn):  # type: ignore[misc]
    _TIMER = TimerSpec("timer", TimeDomain.WATERMARK)

    def process(self, element: tuple[str, int], timer: Any = beam.DoFn.TimerParam(_TIMER)) -> None:
        timer.set(element[1])

    @on_timer(_TIMER)
    def fired(self) -> Iterator[int]:
        beam.metrics.Metrics.counter("test", "fired").inc()
        yield 1


def test_a_graph_with_timers_is_run_by_beam(caplog: pytest.LogCaptureFixture) -> None:
    """They would never fire."""
    pipeline = beam.Pipeline(options=OPTIONS)
    _ = pipeline | beam.Create([("a", 5), ("b", 7)]) | beam.ParDo(_AtTheEnd()) | beam.combiners.Count.Globally()
    graph = pipeline.to_runner_api(default_environment=EmbeddedPythonEnvironment.default())
    runner = warm.WarmRunner(graph, OPTIONS)
    for _ in range(2):
        found = runner.run().metrics().query(MetricsFilter().with_name("fired"))["counters"]
        assert [counter.result for counter in found] == [2]
    caplog.clear()  # it is said each time


def test_nothing_gathers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither threads nor objects, whether runs succeed or fail."""
    caplog.set_level(logging.CRITICAL)  # the fixture would gather Beam's errors
    desk = Desk(tmp_path / "desk", ids=True)
    prepared = PreparedJob(desk.job, OPTIONS)

    def run_some() -> tuple[int, int]:
        for data in (SAMPLE, b"[]", b"[1", b"x", SAMPLE) * 4:
            desk.outcome(prepared.run, data)
        gc.collect()
        return threading.active_count(), len(gc.get_objects())

    run_some()
    threads, objects = run_some()
    more_threads, more_objects = run_some()
    assert more_threads == threads
    assert more_objects < objects + 40  # fewer than two for each run


@pytest.mark.parametrize(
    "part",
    [
        "FnApiRunnerExecutionContext",
        "WorkerHandlerManager",
        "ENCODED_IMPULSE_VALUE",
        "StateCache",
        "set_current_tracker",
    ],
)
def test_another_beam(tmp_path: Path, part: str, caplog: pytest.LogCaptureFixture) -> None:
    """Where an inner part of Beam is not as expected, the answer is the same."""
    desk = Desk(tmp_path / "desk")
    prepared = PreparedJob(desk.job, OPTIONS)
    with mock.patch.object(warm, part, None):
        for _ in range(2):
            assert desk.outcome(prepared.run, SAMPLE)[1]["report"].decode() == EXAMPLE_REPORT
        assert str(desk.outcome(prepared.run, b"[1")[0]).startswith("InputError: input: byte 2: ")
    shown = [record for record in caplog.records if logs._is_visible(record)]  # Beam logs the error of "[1" itself
    assert {(record.name, record.levelno) for record in shown} == {(warm.__name__, logging.WARNING)}
    caplog.clear()
    assert desk.outcome(prepared.run, SAMPLE)[1]["report"].decode() == EXAMPLE_REPORT
