"""Watched folders on Prism, live: the command line as a process of its own, files for it, and its reports."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.processes import process_group
from tests import oracle
from tests.integration.servers import TOOLS
from tests.support import ROOT, json_lines

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


def stop(
    process: "subprocess.Popen[str]", kill: Callable[[int, int], None] = os.kill, kind: signal.Signals = signal.SIGTERM
) -> str:
    """Ends a stream as its user does; what it has said."""
    kill(process.pid, kind)
    said = process.communicate(timeout=180)[1]
    assert process.returncode == 0, said
    return said


def put(path: Path, data: bytes, written: int | None = None) -> None:
    """Renames a file into place. written: when it was, now by default."""
    hidden = path.with_name(f".{path.name}")
    hidden.write_bytes(data)
    if written is not None:
        os.utime(hidden, (written, written))
    hidden.rename(path)


def reported(folder: Path) -> int:
    """How many events the reports of a folder count."""
    rows = [path.read_text().splitlines()[1] for path in folder.glob("*.csv")]
    return sum(int(cell) for row in rows for cell in row.split(",")[1:-1])


def lines_of(folder: Path) -> list[str]:
    """The rejects in a folder."""
    return [line for path in folder.glob("[!.]*") for line in path.read_text().splitlines()]


START = 1617393600  # a full hour
HOURS = 3
EVENTS_A_FILE = 2000
ALLOWED = HOURS * 3600  # files come when the last hour ends


class Sender:
    """Puts files into a folder, and knows what the stream has to make of them.

    Each file has a broken line in 40, comes late in 50, comes again under another name in 60, is no gzip in 100.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.random = folder, random.Random(5)
        self.on_time: list[oracle.Event] = []
        self.late = self.rejected = self.files = 0

    def send(self) -> None:
        """One more file, renamed into place."""
        number, self.files = self.files, self.files + 1
        late, times = number % 50 == 7, 2 if number % 60 == 11 else 1
        events = [self._event(number, k) for k in range(EVENTS_A_FILE)]
        broken = number % 40 == 3
        data = self.lines(events) + (b'{"id": "broken"\n' if broken else b"")
        for copy in range(times):
            self._put(f"{number}-{copy}.jsonl", data, late)
        self.rejected += times * broken
        self.late += len(events) if late else 0
        self.on_time += [] if late else events * times
        if number % 100 == 13:
            self._put(f"{number}.jsonl.gz", b"no gzip", late=False)
            self.rejected += 1

    @staticmethod
    def lines(events: list[oracle.Event]) -> bytes:
        """Events as JSON Lines."""
        return json_lines(dict(zip(("id", "event", "timestamp"), event, strict=True)) for event in events)

    def _event(self, number: int, k: int) -> oracle.Event:
        timestamp = START + self.random.randrange(HOURS * 3600)
        return f"id-{number}-{k}", self.random.choice(oracle.EVENTS), timestamp

    def _put(self, name: str, data: bytes, late: bool) -> None:
        put(self.folder / name, data, START + HOURS * 3600 + (2 * ALLOWED if late else 0))


def stream(sender: Sender, folder: Path, *more: str) -> contextlib.AbstractContextManager["subprocess.Popen[str]"]:
    """The command line, watching the sender's folder; killed with its Prism if it still runs at the end.

    more: options.
    """
    outputs = [f"--{name}={folder / name}" for name in ("output", "ids_output", "rejects_output")]
    options = ["--early_firing_seconds=2", f"--allowed_lateness_seconds={ALLOWED}", PRISM]
    return stream_process(f"--input={sender.folder}/*.jsonl*", *outputs, *options, *more)


def running(
    sender: Sender, folder: Path, options: list[str]
) -> contextlib.AbstractContextManager["subprocess.Popen[str]"]:
    """A stream with rejects, killed with its Prism at the end."""
    outputs = [f"--output={folder}/output", f"--rejects_output={folder}/rejects"]
    more = ["--early_firing_seconds=1", f"--allowed_lateness_seconds={ALLOWED}", PRISM]
    return stream_process(f"--input={sender.folder}/*.jsonl*", *outputs, *more, *options)


class Watcher:
    """Reads the reports while they are rewritten: each is whole, and no count ever shrinks."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.counts = folder, dict[str, int]()

    def look(self) -> int:
        """How many events the reports count now."""
        for path in self.folder.glob("*.csv"):
            header, row, rest = path.read_text().split("\n")
            assert (header.count(","), row.count(","), rest) == (7, 7, "")
            count = sum(map(int, row.split(",")[1:7]))
            assert count >= self.counts.get(path.name, 0)
            self.counts[path.name] = count
        return sum(self.counts.values())
