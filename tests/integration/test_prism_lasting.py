"""Runs on Prism that last longer than the timeout of Beam's requests, which is lowered to seconds for it."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import support
from tests.integration.prism_streams import PRISM, put, reported, stop, stream_process, until
from tests.integration.servers import prism

TIMEOUT = 3

PROGRAM = f"""
import argparse, sys
from apache_beam.options.pipeline_options import PortableOptions

parse = PortableOptions._add_argparse_args.__func__

def lowered(cls, parser):
    parse(cls, parser)
    parser.set_defaults(job_server_timeout={TIMEOUT})

PortableOptions._add_argparse_args = classmethod(lowered)
from pipeline.cli.main import run_program
sys.exit(run_program())
"""
"""The command line with another default of Beam's."""


@pytest.fixture(params=["PrismRunner", "PortableRunner"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[str]]:
    if request.param == "PrismRunner":
        yield [PRISM]
        return
    with prism(tmp_path) as address:
        yield ["--runner=PortableRunner", f"--job_endpoint={address}", "--environment_type=LOOPBACK"]


def running(folder: Path, *options: str) -> contextlib.AbstractContextManager["subprocess.Popen[str]"]:
    (folder / "in").mkdir()
    arguments = [f"--input={folder}/in/*", f"--output={folder}/out", "--early_firing_seconds=1"]
    return stream_process(*arguments, *options, program=("-c", PROGRAM))


def test_a_stream_outlives_the_timeout(engine: list[str], tmp_path: Path) -> None:
    with running(tmp_path, *engine) as process:
        put(tmp_path / "in" / "first", support.line() + b"\n")
        until(lambda: reported(tmp_path / "out") == 1, process)
        beyond = time.monotonic() + 2 * TIMEOUT
        until(lambda: time.monotonic() > beyond, process)
        put(tmp_path / "in" / "second", support.line() + b"\n")
        until(lambda: reported(tmp_path / "out") == 2, process)
        assert stop(process).splitlines()[-1].startswith("2 events read, 2 counted")


def test_who_sets_the_timeout_has_it(tmp_path: Path) -> None:
    with running(tmp_path, PRISM, f"--job_server_timeout={TIMEOUT}") as process:
        assert process.wait(60) == 1
        assert process.stderr
        assert "DEADLINE_EXCEEDED" in process.stderr.read()
