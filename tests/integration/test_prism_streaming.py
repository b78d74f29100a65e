"""A watched folder on Prism, live: real processes, files that appear while it runs, kill -9 and a restart."""

import contextlib
import gzip
import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.storage.files import printable_path
from pipeline.stream.database import NAME
from tests import oracle
from tests.integration.stream_process import PRISM, children, stream_process, until
from tests.streams import files_of_ids, ids_of
from tests.support import hourly_reports, json_lines

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
        hidden = self.folder / f".{name}"
        hidden.write_bytes(data)
        written = START + HOURS * 3600 + (2 * ALLOWED if late else 0)
        os.utime(hidden, (written, written))
        hidden.rename(self.folder / name)


def stream(sender: Sender, folder: Path, *more: str) -> contextlib.AbstractContextManager["subprocess.Popen[str]"]:
    """The command line, watching the sender's folder; killed with its Prism if it still runs at the end.

    more: options.
    """
    outputs = [f"--{name}={folder / name}" for name in ("output", "ids_output", "rejects_output")]
    options = ["--early_firing_seconds=2", f"--allowed_lateness_seconds={ALLOWED}", PRISM]
    return stream_process(f"--input={sender.folder}/*.jsonl*", *outputs, *options, *more)


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


def check_end(
    process: subprocess.Popen[str],
    sender: Sender,
    folder: Path,
    kill: Callable[[int, int], None] = os.kill,
    kind: signal.Signals = signal.SIGTERM,
) -> None:
    """Stops the stream: its files, and its summary, account for all that was sent."""
    kill(process.pid, kind)
    stderr = process.communicate(timeout=120)[1]
    assert process.returncode == 0, stderr
    counted = len(sender.on_time)
    read = counted + sender.rejected + sender.late
    last = stderr.splitlines()[-1]
    wanted = f"{read} events read, {counted} counted, {sender.rejected} rejected, {sender.late} late, "
    assert re.match(wanted, last), stderr
    assert hourly_reports(folder / "output") == oracle.report(sender.on_time)
    ids, wanted_ids = files_of_ids(folder / "ids_output"), ids_of(sender.on_time)
    assert {name: len(lines) for name, lines in ids.items()} == {name: len(lines) for name, lines in wanted_ids.items()}
    assert (ids == wanted_ids) is True  # in words: no diff of 200,000 lines
    kept = [line for path in (folder / "rejects_output").iterdir() for line in path.read_text().splitlines()]
    assert len(kept) == sender.rejected + sender.late
    assert [path.name for path in folder.rglob(".*")] == [NAME]


def test_a_million_events_in_a_minute(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sender, watcher = Sender(tmp_path / "in"), Watcher(tmp_path / "output")
    with stream(sender, tmp_path) as process:
        start = time.monotonic()
        for number in range(500):
            sender.send()
            watcher.look()
            time.sleep(max(0.0, start + number * 0.12 - time.monotonic()))
        (tmp_path / "in" / ".hidden.jsonl").write_bytes(b"{}\n")
        sent = time.monotonic()
        until(lambda: watcher.look() == len(sender.on_time), process)
        with capsys.disabled():
            after = time.monotonic() - sent
            print(f"\n{len(sender.on_time)} events in {sent - start:.0f} s, the last ones reported {after:.1f} s later")
        (tmp_path / "in" / ".hidden.jsonl").unlink()
        check_end(process, sender, tmp_path)


def test_killed_and_started_again(tmp_path: Path) -> None:
    sender, watcher = Sender(tmp_path / "in"), Watcher(tmp_path / "output")
    for _ in range(50):
        sender.send()
    with stream(sender, tmp_path) as process:
        until(lambda: watcher.look() > 0, process)
        for _ in range(50):
            sender.send()
    assert process.returncode == -signal.SIGKILL
    (lock,) = (path.name for path in (tmp_path / "output").glob(".hourly-report.*-lock"))
    token = lock.removeprefix(".hourly-report.").removesuffix("-lock")
    (tmp_path / "output" / f".2021-04-02T21+0100.csv.{token}-{'0' * 32}").write_text("half a repo")
    with stream(sender, tmp_path) as process:
        for _ in range(20):
            sender.send()
        report = oracle.report(sender.on_time)
        until(lambda: hourly_reports(tmp_path / "output") == report, process)
        check_end(process, sender, tmp_path)


def test_a_backlog(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sender, watcher = Sender(tmp_path / "in"), Watcher(tmp_path / "output")
    packed = gzip.compress(b"")  # an empty file is no event
    (tmp_path / "in" / "empty.jsonl.gz").write_bytes(packed)
    for _ in range(300):
        sender.send()
    with stream(sender, tmp_path) as process:
        until(lambda: watcher.look() > 0, process)
        start, before = time.monotonic(), watcher.look()
        until(lambda: watcher.look() == len(sender.on_time), process)
        rest, seconds = len(sender.on_time) - before, time.monotonic() - start
        with capsys.disabled():
            print(f"\n{len(sender.on_time)} events: {rest} of them in {seconds:.2f} s after the first report")
        check_end(process, sender, tmp_path, os.killpg, signal.SIGINT)  # as a terminal does: to Prism too


def test_nothing_ever_came(tmp_path: Path) -> None:
    sender = Sender(tmp_path / "in")
    with stream(sender, tmp_path) as process:
        until(lambda: bool(children(process)), process)  # Prism is being started
        os.kill(process.pid, signal.SIGTERM)
        stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 0, stderr
    assert stderr.splitlines()[-1].startswith("0 events read, 0 counted, 0 rejected, 0 late, ")


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    sender, folder = Sender(tmp_path / "in\udce9"), tmp_path / "out\udce9"
    for _ in range(4):  # the last has a broken line
        sender.send()
    (sender.folder / "3-0.jsonl").rename(sender.folder / "3\udce9.jsonl")
    with stream(sender, folder) as process:
        until(lambda: bool(list(folder.glob("output/*.csv"))), process)
        check_end(process, sender, folder)
    kept = "".join(path.read_text() for path in (folder / "rejects_output").iterdir())
    assert json.loads(kept)["source"] == printable_path(str(sender.folder / "3\udce9.jsonl"))
