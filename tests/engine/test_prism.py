"""Prism: when it is the runner, where its program is, and that it ends with the run, whoever started it."""

import signal
import subprocess
from pathlib import Path
from unittest import mock

import pytest
from apache_beam.options.pipeline_options import PipelineOptions, PrismRunnerOptions
from apache_beam.runners.portability.prism_runner import PrismRunner
from apache_beam.utils.subprocess_server import SubprocessServer

from pipeline.engine.prism import end_prism, find_prism, is_prism, running_prism
from pipeline.errors import UsageError

PRISM = ["--runner=PrismRunner"]


def test_prism_is_started_unless_a_job_server_is_named() -> None:
    assert is_prism(PipelineOptions(PRISM))
    assert not is_prism(PipelineOptions([*PRISM, "--job_endpoint=localhost:8073"]))
    assert not is_prism(PipelineOptions(["--runner=FnApiRunner"]))


def test_a_program_that_is_there_is_used(tmp_path: Path) -> None:
    (tmp_path / "prism").touch(0o755)
    options = PipelineOptions([*PRISM, f"--prism_location={tmp_path}/prism"])
    find_prism(options)
    assert options.view_as(PrismRunnerOptions).prism_location == f"{tmp_path}/prism"


@pytest.mark.parametrize(("name", "reason"), [("", "is a folder, not Prism's program"), ("/no", "cannot be found: ")])
def test_a_program_that_is_not_there(name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=reason):
        find_prism(PipelineOptions([*PRISM, f"--prism_location={tmp_path}{name}"]))


def test_another_runner_needs_no_program() -> None:
    options = PipelineOptions(["--runner=FnApiRunner", "--prism_location=/nowhere"])
    find_prism(options)
    with running_prism(options):
        pass


def test_it_is_ended_at_once() -> None:
    process = subprocess.Popen(["sh", "-c", "trap '' INT TERM; exec sleep 600"])
    entry = mock.Mock(obj=(process, "localhost:1"))
    with mock.patch.dict(SubprocessServer._cache._cache, {"a key": entry}, clear=True):
        end_prism()
    assert process.returncode == -signal.SIGKILL


def test_it_runs_while_the_block_does_and_leaves_ctrl_c_as_it_was() -> None:
    def handle(*_: object) -> None:
        """Nothing."""

    server = mock.Mock()
    server.start.side_effect = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)

    def fail() -> None:
        with running_prism(PipelineOptions(PRISM)):
            assert signal.getsignal(signal.SIGINT) is handle
            assert (server.start.call_count, server.stop.call_count) == (1, 0)
            raise ZeroDivisionError

    before = signal.signal(signal.SIGINT, handle)
    try:
        with (
            mock.patch.object(PrismRunner, "default_job_server", return_value=server),
            pytest.raises(ZeroDivisionError),
        ):
            fail()
    finally:
        signal.signal(signal.SIGINT, before)
    assert server.stop.call_count == 1
