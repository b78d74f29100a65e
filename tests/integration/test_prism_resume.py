"""Streams on Prism that are killed at any moment: what a later run ends with is what the oracle has."""

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from random import Random

import pytest

from bench.processes import children
from tests import oracle
from tests.integration.prism_streams import Sender, Watcher, lines_of, running, stop, until
from tests.streams import files_of_ids, ids_of
from tests.support import hourly_reports

MOMENTS = 10
LATEST = 8  # seconds after the start


def kill(process: subprocess.Popen[str], what: str) -> None:
    """SIGKILL to Python, to Prism, or to both at once."""
    victims = {"python": [process.pid], "prism": children(process.pid), "both": [process.pid, *children(process.pid)]}
    for victim in victims[what]:
        os.kill(victim, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):  # where Prism is just being started, Beam starts another
        process.communicate(timeout=20)


def remove_reported(sender: Sender) -> int:
    """Removes files whose events are all in reports: none that is late, comes twice, or is no gzip. How many."""
    removed = 0
    for path in sender.folder.iterdir():
        number = int(re.split("[-.]", path.name)[0])
        if path.suffix != ".gz" and number % 50 != 7 and number % 60 != 11:
            path.unlink()
            removed += 1
    return removed


def counted(sender: Sender, deduplicate: bool) -> list[oracle.Event]:
    return list(dict.fromkeys(sender.on_time)) if deduplicate else sender.on_time


@pytest.mark.parametrize("deduplicate", [True, False], ids=["deduplicated", "all"])
@pytest.mark.parametrize("ids", [True, False], ids=["ids", "no ids"])
def test_killed_at_any_moment(ids: bool, deduplicate: bool, tmp_path: Path) -> None:
    sender, watcher = Sender(tmp_path / "in"), Watcher(tmp_path / "output")
    moments = Random(f"{ids} {deduplicate}")
    options = [f"--ids_output={tmp_path}/ids"] * ids + ["--deduplicate"] * deduplicate
    removed = 0
    for moment in range(MOMENTS):
        with running(sender, tmp_path, options) as process:
            for _ in range(7):
                sender.send()
            if moment % 2:
                until(lambda: watcher.look() == len(counted(sender, deduplicate)), process)
                removed += remove_reported(sender)
            end = time.monotonic() + moments.uniform(0, 2 if moment % 2 else LATEST)
            while time.monotonic() < end:
                sender.send()
                watcher.look()
                time.sleep(0.2)
            kill(process, ["python", "prism", "both"][moment % 3])
    assert removed
    with running(sender, tmp_path, options) as process:
        for _ in range(3):
            sender.send()
        events = counted(sender, deduplicate)
        until(lambda: watcher.look() == len(events), process)
        stderr = stop(process)
    read = len(sender.on_time) + sender.rejected + sender.late
    dropped = f", {len(sender.on_time) - len(events)} duplicates" if deduplicate else ""
    wanted = f"{read} events read, {len(events)} counted, {sender.rejected} rejected{dropped}, {sender.late} late, "
    assert re.match(wanted, stderr.splitlines()[-1]), stderr
    assert hourly_reports(tmp_path / "output") == oracle.report(events)
    if ids:
        assert (files_of_ids(tmp_path / "ids") == ids_of(events)) is True  # in words: no diff of 200,000 lines
    assert len(lines_of(tmp_path / "rejects")) == sender.rejected + sender.late
