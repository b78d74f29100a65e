"""Prism: when it is the runner, where its program is, and that it ends with the run, whoever started it."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, PrismRunnerOptions

from pipeline.engine.prism import find_prism, has_exited, is_prism, running_prism
from pipeline.errors import PipelineError, UsageError

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


LISTENS = """#!{python}
import pathlib, signal, socket, sys, time
port = next(int(word.partition("=")[2]) for word in sys.argv if word.startswith("-job_port="))
server = socket.create_server(("127.0.0.1", port))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(600)
"""


def program(folder: Path, script: str) -> PipelineOptions:
    """Options with a program in Prism's place."""
    (folder / "prism").write_text(script.format(python=sys.executable))
    (folder / "prism").chmod(0o755)
    return PipelineOptions([*PRISM, f"--prism_location={folder}/prism"])


def test_it_runs_while_the_block_does(tmp_path: Path) -> None:
    options = program(tmp_path, LISTENS)
    with running_prism(options) as process:
        assert process is not None
        host, _, port = options.view_as(PortableOptions).job_endpoint.partition(":")
        with socket.create_connection((host, int(port))):
            assert process.poll() is None
        assert os.getpgid(process.pid) == process.pid  # signals of the terminal are for its parent
    assert process.returncode == -signal.SIGKILL


def test_one_that_does_not_start(tmp_path: Path) -> None:
    options = program(tmp_path, "#!/bin/sh\nexit 3\n")
    with pytest.raises(PipelineError, match=r"does not start: .*/prism exited with status 3"), running_prism(options):
        pass


def test_an_exit_is_awaited_after_a_failed_rpc() -> None:
    with subprocess.Popen(["sleep", "0.3"]) as process:
        assert [has_exited(process, error) for error in (ValueError(), grpc.RpcError())] == [False, True]
