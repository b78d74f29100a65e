"""Processes that tests start, look at, wait for and kill, and ports for them."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support import ROOT


@contextlib.contextmanager
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


def command_line(process: int) -> bytes:
    """What a process was started with; empty once it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


def programs(folder: Path) -> dict[int, str]:
    """The command lines of processes whose temporary folder is one or below it, by process id."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"TMPDIR={folder}/".encode() in (path / "environ").read_bytes().replace(b"\0", b"/\0"):
                found[int(path.name)] = (path / "cmdline").read_text().replace("\0", " ").strip()
    return found


def is_alive(process: int) -> bool:
    """Whether a process runs; False for a zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"
    return False


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def await_true(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Waits until a condition holds; fails if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)
