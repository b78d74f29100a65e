"""A watched folder on Prism, live: real processes, files that appear while it runs, kill -9 and a restart."""

import gzip
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.processes import children
from pipeline.storage.files import printable_path
from pipeline.stream.database import NAME
from tests import oracle
from tests.integration.prism_streams import Sender, Watcher, lines_of, put, stop, stream, until
from tests.streams import files_of_ids, ids_of
from tests.support import hourly_reports


def check_end(
    process: subprocess.Popen[str],
    sender: Sender,
    folder: Path,
    kill: Callable[[int, int], None] = os.kill,
    kind: signal.Signals = signal.SIGTERM,
) -> None:
    """Stops the stream: its files, and its summary, account for all that was sent."""
    stderr = stop(process, kill, kind)
    counted = len(sender.on_time)
    read = counted + sender.rejected + sender.late
    last = stderr.splitlines()[-1]
    wanted = f"{read} events read, {counted} counted, {sender.rejected} rejected, {sender.late} late, "
    assert re.match(wanted, last), stderr
    assert hourly_reports(folder / "output") == oracle.report(sender.on_time)
    ids, wanted_ids = files_of_ids(folder / "ids_output"), ids_of(sender.on_time)
    assert {name: len(lines) for name, lines in ids.items()} == {name: len(lines) for name, lines in wanted_ids.items()}
    assert (ids == wanted_ids) is True  # in words: no diff of 200,000 lines
    assert len(lines_of(folder / "rejects_output")) == sender.rejected + sender.late
    assert [path.name for path in folder.rglob(".*")] == [NAME]


def test_files_for_half_a_minute(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sender, watcher = Sender(tmp_path / "in"), Watcher(tmp_path / "output")
    with stream(sender, tmp_path) as process:
        start = time.monotonic()
        for number in range(250):
            sender.send()
            watcher.look()
            time.sleep(max(0.0, start + number * 0.1 - time.monotonic()))  # the pace of who writes them
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
        until(lambda: bool(children(process.pid)), process)  # Prism is being started
        stderr = stop(process)
    assert stderr.splitlines()[-1].startswith("0 events read, 0 counted, 0 rejected, 0 late, ")


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    sender, folder = Sender(tmp_path / "in\udce9"), tmp_path / "out\udce9"
    for _ in range(4):  # the last has a broken line
        sender.send()
    (sender.folder / "3-0.jsonl").rename(sender.folder / "3\udce9.jsonl")
    with stream(sender, folder) as process:
        until(lambda: bool(list(folder.glob("output/*.csv"))), process)
        check_end(process, sender, folder)
    (kept,) = lines_of(folder / "rejects_output")
    assert json.loads(kept)["source"] == printable_path(str(sender.folder / "3\udce9.jsonl"))


def test_rejects_of_many_files_are_few_files(tmp_path: Path) -> None:
    sender, kept = Sender(tmp_path / "in"), tmp_path / "rejects_output"
    for number in range(3000):
        put(sender.folder / f"{number}.jsonl", b"{}\n")
    with stream(sender, tmp_path) as process:
        until(lambda: len(lines_of(kept)) == 3000, process)
        put(sender.folder / "one more.jsonl", b"{}\n")
        until(lambda: len(lines_of(kept)) == 3001, process)
        put(sender.folder / "the last.jsonl", b"{}\n")
        stderr = stop(process)
    assert stderr.splitlines()[-1].startswith("3002 events read, 0 counted, 3002 rejected, 0 late"), stderr
    assert len(set(lines_of(kept))) == len(lines_of(kept)) == 3002
    assert len(list(kept.iterdir())) < 50
