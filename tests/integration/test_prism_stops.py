"""How a stream on Prism ends: when it is told once, twice, and while polls take long."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.processes import children
from tests.integration.prism_streams import EVENTS_A_FILE, Sender, Watcher, stop, stream, until


def test_told_twice(tmp_path: Path) -> None:
    sender, watcher = Sender(tmp_path / "in"), Watcher(tmp_path / "output")
    sender.send()
    with stream(sender, tmp_path) as process:
        until(lambda: watcher.look() == EVENTS_A_FILE, process)
        os.kill(process.pid, signal.SIGTERM)
        os.kill(process.pid, signal.SIGINT)
        stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 130, stderr
    last = "error: stopped before all input was read: the next start resumes"
    assert stderr.splitlines()[-1] == last, stderr
    assert "Traceback" not in stderr


@pytest.mark.usefixtures("foreground")
@pytest.mark.parametrize(
    ("kill", "kind"),
    [
        (os.kill, signal.SIGTERM),
        (os.killpg, signal.SIGHUP),  # as when a terminal is closed
        (os.killpg, signal.SIGINT),  # as Ctrl-C
    ],
)
def test_a_stop_is_quick_and_ends_prism(
    kill: Callable[[int, int], None], kind: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sender, watcher = Sender(tmp_path / "in"), Watcher(tmp_path / "output")
    with stream(sender, tmp_path) as process:
        for _ in range(20):
            sender.send()
        until(lambda: watcher.look() == len(sender.on_time), process)
        started = children(process.pid)
        start = time.monotonic()
        stop(process, kill, kind)
        with capsys.disabled():
            print(f"\nstopped in {time.monotonic() - start:.1f} s")
    assert len(started) == 1
    assert not Path(f"/proc/{started[0]}").exists()


def test_killing_the_process_group_ends_prism(tmp_path: Path) -> None:
    sender, watcher = Sender(tmp_path / "in"), Watcher(tmp_path / "output")
    sender.send()
    with stream(sender, tmp_path) as process:
        until(lambda: watcher.look() == EVENTS_A_FILE, process)
        (prism,) = children(process.pid)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{prism}/exe").exists():  # a zombie, which is left where nothing reaps it, has none
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_long_polls_make_no_traceback(tmp_path: Path) -> None:
    sender, watcher = Sender(tmp_path / "in"), Watcher(tmp_path / "output")
    for number in range(20_000):  # a listing takes longer than 100 ms, from which on Beam asks for progress
        (sender.folder / f"empty-{number}.jsonl").touch()
    sender.send()
    with stream(sender, tmp_path) as process:
        until(lambda: watcher.look() == EVENTS_A_FILE, process)
        stderr = stop(process)
    assert "Traceback" not in stderr
    assert "NotImplementedError" not in stderr
