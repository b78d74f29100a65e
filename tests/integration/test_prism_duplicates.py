"""Duplicates of a watched folder on Prism, live: doubled lines, doubled files, kill -9 and a restart."""

import re
import signal
import subprocess
from pathlib import Path

from tests import oracle
from tests.integration.prism_streams import EVENTS_A_FILE, Sender, Watcher, stop, stream, until
from tests.streams import files_of_ids, ids_of
from tests.support import hourly_reports

FILES = 30


class DoublingSender(Sender):
    """Each file comes twice; each tenth line of it twice, and some lines of the file before again."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.different: list[oracle.Event] = []
        self.read = 0

    def send(self) -> None:
        """One more file, twice."""
        number, self.files = self.files, self.files + 1
        events = [self._event(number, k) for k in range(EVENTS_A_FILE)]
        lines = self.lines([*events, *events[::10], *self.different[-50:]])
        self.different += events
        for copy in range(2):
            self._put(f"{number}-{copy}.jsonl", lines, late=False)
            self.read += lines.count(b"\n")


def check_end(process: subprocess.Popen[str], sender: DoublingSender, folder: Path) -> None:
    """Stops the stream: each event counts once."""
    stderr = stop(process)
    counted = len(sender.different)
    doubled = sender.read - counted
    wanted = f"{sender.read} events read, {counted} counted, 0 rejected, {doubled} duplicates, 0 late, "
    assert re.match(wanted, stderr.splitlines()[-1]), stderr
    assert hourly_reports(folder / "output") == oracle.report(sender.different)
    assert (files_of_ids(folder / "ids_output") == ids_of(sender.different)) is True


def test_doubles_count_once(tmp_path: Path) -> None:
    sender, watcher = DoublingSender(tmp_path / "in"), Watcher(tmp_path / "output")
    with stream(sender, tmp_path, "--deduplicate") as process:
        for _ in range(FILES):
            sender.send()
            watcher.look()
        until(lambda: watcher.look() == len(sender.different), process)
        check_end(process, sender, tmp_path)


def test_doubles_after_a_kill(tmp_path: Path) -> None:
    sender, watcher = DoublingSender(tmp_path / "in"), Watcher(tmp_path / "output")
    with stream(sender, tmp_path, "--deduplicate") as process:
        for _ in range(FILES // 2):
            sender.send()
        until(lambda: watcher.look() > 0, process)
        sender.send()
    assert process.returncode == -signal.SIGKILL
    with stream(sender, tmp_path, "--deduplicate") as process:
        for _ in range(FILES // 2):
            sender.send()
        report = oracle.report(sender.different)
        until(lambda: hourly_reports(tmp_path / "output") == report, process)
        check_end(process, sender, tmp_path)
