"""Processes that tests of temporary files start and kill."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import ROOT


@contextmanager
def process(script: str, *arguments: str, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that has come to its rest."""
    command = [sys.executable, "-c", script, *arguments]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=variables) as started:
        try:
            assert started.stdout
            assert started.stdout.readline() == b"ready\n"
            yield started
        finally:
            started.kill()


def kill(started: "subprocess.Popen[bytes]") -> None:
    started.send_signal(signal.SIGKILL)
    started.wait()
