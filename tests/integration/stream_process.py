"""The command line as a stream on Prism, in a process of its own: started, awaited, looked into, killed."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.processes import process_group
from tests.integration.servers import TOOLS
from tests.support import ROOT

PRISM = f"--prism_location={TOOLS / 'prism'}"


def stream_process(
    *arguments: str, program: Sequence[str] = ("-m", "pipeline"), cwd: Path | None = None
) -> contextlib.AbstractContextManager["subprocess.Popen[str]"]:
    """A stream, killed with its Prism if it still runs at the end. program: what Python runs instead."""
    command = [sys.executable, *program, "--streaming", *arguments]
    return process_group(command, stderr=subprocess.PIPE, text=True, cwd=cwd or ROOT)


def until(condition: Callable[[], bool], process: "subprocess.Popen[str]", seconds: float = 180) -> None:
    """Waits until a condition holds; fails where the process ends before, or where it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children(process: "subprocess.Popen[str]") -> list[int]:
    """The processes that it has started, such as Prism."""
    paths = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(child) for path in paths for child in path.read_text().split()]
