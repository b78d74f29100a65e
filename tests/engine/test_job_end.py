"""How a run is ended: at once, or with what to do where the engine does not end it."""

import pytest

from pipeline.engine import runners
from pipeline.errors import PipelineError


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
