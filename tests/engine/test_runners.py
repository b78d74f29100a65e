"""Options that all programs share: how long requests to a job server last, and a job server that is not there."""

import pytest
from apache_beam.options.pipeline_options import PortableOptions

from pipeline.engine import runners
from pipeline.engine.runners import beam_options
from pipeline.errors import UsageError

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
