"""Programs that start others: run in a group of processes, which is killed as a whole, and found by their parent."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def process_group(command: Sequence[str], **options: Any) -> Iterator["subprocess.Popen[Any]"]:
    """Runs a command; kills it, and what it started (a stream's Prism), where it still runs at the end of the block.

    options: of subprocess.Popen.
    """
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def children(process: int) -> list[int]:
    """The ids of the processes that a process has started, none once it has ended."""
    found: list[int] = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that has ended
            found += map(int, path.read_text().split())
    return found
