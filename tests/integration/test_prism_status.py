"""What a stream on Prism says while it runs: on a terminal, in a file, and where nobody reads it."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bench.processes import process_group
from tests.integration.prism_streams import EVENTS_A_FILE, PRISM, Sender, Watcher, until
from tests.support import ROOT

LINE = re.compile(r"(\d+) events/s, (\d+) hours? written, delay (\d+\.\d) s, (\d+) rejected, (\d+) late")

PROGRAM = """
import sys
from pipeline.cli import main, status_line
status_line.LINE_SECONDS = 1
sys.exit(main.run_program())
"""
"""The command line, with a line a second."""


def running(
    sender: Sender, folder: Path, stderr: int | None
) -> contextlib.AbstractContextManager["subprocess.Popen[str]"]:
    """stderr: a descriptor, or None: closed."""
    arguments = ["--streaming", f"--input={sender.folder}/*", f"--output={folder}/output", "--early_firing_seconds=1"]
    closing = ["bash", "-c", 'exec "$0" "$@" 2>&-'] if stderr is None else []
    command = [*closing, sys.executable, "-c", PROGRAM, *arguments, PRISM, f"--rejects_output={folder}/rejects"]
    return process_group(command, stderr=stderr, text=True, cwd=ROOT)


@pytest.mark.parametrize("kind", ["terminal", "pipe"])
def test_what_it_says(kind: str, tmp_path: Path) -> None:
    sender, said = Sender(tmp_path / "in"), bytearray()
    ours, its = pty.openpty() if kind == "terminal" else os.pipe()

    def read() -> None:
        with contextlib.suppress(OSError):  # a terminal's end
            while piece := os.read(ours, 65536):
                said.extend(piece)

    def statuses() -> list[tuple[float, ...]]:
        return [tuple(map(float, found)) for found in LINE.findall(said.decode())]

    with running(sender, tmp_path, its) as process:
        os.close(its)
        reading = threading.Thread(target=read, daemon=True)
        reading.start()
        for _ in range(4):  # the last has a broken line
            sender.send()
        until(lambda: any(hours == 3 and rejected == 1 for _, hours, _, rejected, _ in statuses()), process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, said
        reading.join(60)
    first, *_, last = said.decode().replace("\r\n", "\n").splitlines()
    assert first.startswith("watching ")
    assert last.split("\r")[-1].startswith(f"{4 * EVENTS_A_FILE + 1} events read, "), said
    assert max(rate for rate, *_ in statuses()) > 0
    assert all(0 <= delay < 180 for _, _, delay, _, _ in statuses())
    assert (b" events/s" in said.split(b"\n")[1]) is True
    assert said.count(b"\n") == (2 if kind == "terminal" else 2 + len(statuses()) + said.count(b" written, 0 "))


@pytest.mark.parametrize("kind", ["full", "closed", "gone"])
def test_nobody_reads_it(kind: str, tmp_path: Path) -> None:
    sender, watcher = Sender(tmp_path / "in"), Watcher(tmp_path / "output")
    reader, writer = os.pipe()
    os.close(reader)
    stderr = {"full": os.open("/dev/full", os.O_WRONLY), "closed": None, "gone": writer}[kind]
    with running(sender, tmp_path, stderr) as process:
        for events in (1, 2, 3):
            sender.send()
            until(lambda events=events: watcher.look() == events * EVENTS_A_FILE, process)  # type: ignore[misc]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
