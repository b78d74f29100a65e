"""Runners: how long requests to a job server last, a job server that is not there, jobs that are cancelled."""

import pytest
from apache_beam.options.pipeline_options import PortableOptions

from pipeline.engine import runners
from pipeline.engine.runners import beam_options
from pipeline.errors import PipelineError, UsageError

TEN_YEARS = 10 * 365 * 86400


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        ([], TEN_YEARS),
        (["--runner=PrismRunner"], TEN_YEARS),
        (["--runner=PortableRunner", "--streaming"], TEN_YEARS),
        (["--job_server_timeout=300"], 300),
        (["--job_server_timeout", "7"], 7),
        (["--job-server-timeout=8"], 8),
    ],
)
def test_no_job_is_ended_by_the_timeout_of_requests(arguments: list[str], seconds: int) -> None:
    assert beam_options(arguments).view_as(PortableOptions).job_server_timeout == seconds


def test_a_job_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "_ENDPOINT_SECONDS", 0.2)
    with pytest.raises(UsageError, match="no job server reachable at localhost:1"):
        beam_options(["--runner=PortableRunner", "--job_endpoint=localhost:1"])


class Result:
    """As Beam's of the portable API. states: what is answered, the last one again and again."""

    _job_id = "job-7"

    def __init__(self, *states: str) -> None:
        self.states, self.cancelled = list(states), False

    def cancel(self) -> None:
        self.cancelled = True

    @property
    def state(self) -> str:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "_CANCEL_SECONDS", 0.2)
    monkeypatch.setattr(runners, "_POLL_SECONDS", 0.01)


def test_a_job_that_ends() -> None:
    result = Result("RUNNING", "CANCELLING", "CANCELLED")
    runners.cancel(result)
    assert result.cancelled


def test_a_job_that_goes_on_after_it_was_cancelled() -> None:
    with pytest.raises(PipelineError, match="job job-7 is still RUNNING after cancellation; stop it in the runner"):
        runners.cancel(Result("RUNNING"))
