"""The line that says how far a stream is, by a clock of the test's own."""

import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cli import status_line
from pipeline.cli.status_line import follow, read_status, shown_status
from pipeline.engine import logs
from pipeline.engine.run_state import run_state
from pipeline.stream import StreamJob
from tests import streams
from tests.streams import HOUR

REST = "3 hours written, delay 1.2 s, 2 rejected, 1 late"


def at(read: int) -> tuple[int, str]:
    return read, REST


def followed(seconds: int, live: bool, look: Callable[[float], tuple[int, str]]) -> list[tuple[float, str]]:
    """What is told within so many seconds, and when."""
    now, told = 1000.0, list[tuple[float, str]]()

    def wait(some: float) -> bool:
        nonlocal now
        now += some
        return now > 1000 + seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "print_line", lambda line: told.append((now - 1000, f"says {line}")))
        patch.setattr(logs, "update_status", lambda line: told.append((now - 1000, f"renews {line}")))
        follow(look, live, wait, lambda: now)
    return told


def test_one_line_a_minute() -> None:
    told = followed(185, live=False, look=lambda now: at(int(100 * (now - 1000)) if now < 1120 else 12_000))
    assert told == [
        (60, f"says 100 events/s, {REST}"),
        (120, f"says 100 events/s, {REST}"),
        (180, f"says 0 events/s, {REST}"),
    ]


def test_a_terminal_has_one_a_second_over_the_last_ten() -> None:
    told = followed(30, live=True, look=lambda now: at(1000 if now >= 1005 else 0))
    assert [when for when, _ in told] == list(range(1, 31))
    rates = {when: line.split()[1] for when, line in told}
    assert all(line.startswith("renews ") for _, line in told)
    assert (rates[4], rates[5], rates[10], rates[14], rates[15]) == ("0", "200", "100", "100", "0")


def test_a_stream_that_ends_at_once_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_status(lambda now: at(1)):
        pass
    assert capsys.readouterr().err == ""


def test_nobody_waits_for_a_pipe_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BrokenPipeError), open(writer, "w", buffering=1) as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        status_line._print("one", live=False)
        assert os.read(reader, 100) == b"one\n"
        while True:
            try:
                os.write(writer, b"x" * 4096)
            except BlockingIOError:
                break
        os.set_blocking(writer, True)
        telling = threading.Thread(target=status_line._print, args=("two", False), daemon=True)
        telling.start()
        telling.join(60)
        assert not telling.is_alive()
        os.close(reader)
        status_line._print("three", live=False)  # whose reader has gone
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    status_line._print("four", live=False)
    assert sys.stderr.getvalue() == "four\n"


def test_an_error_ends_the_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(status_line, "POLL_SECONDS", 0.001)
    looked = threading.Semaphore(0)

    def look(now: float) -> tuple[int, str]:
        looked.release()
        return at(1)

    def run() -> None:
        with shown_status(look):
            for _ in range(100):
                assert looked.acquire(timeout=60)
            raise ValueError("of the run")

    with pytest.raises(ValueError, match="of the run"):
        run()
    said = capsys.readouterr().err
    assert "events/s, 3 hours written" in said
    assert said.endswith(" \r")


def test_progress_of_a_run(tmp_path: Path) -> None:
    steps = [
        streams.watermark(HOUR),
        streams.arrive(streams.block(HOUR, HOUR + 3600, HOUR + 3601, arrived=HOUR + 3600), found=HOUR + 7000),
        streams.arrive(streams.block(HOUR + 1, arrived=HOUR + 10_000)),
    ]
    streams.play(
        tmp_path, steps, ["--runner=BundleBasedDirectRunner"], late_at_once=True, allowed_lateness_seconds=3600
    )
    job = StreamJob(str(tmp_path / "output"))
    assert read_status(job, HOUR + 7003.5) == (4, "2 hours written, delay 3.5 s, 0 rejected, 1 late")


def test_of_folders_only_their_own_files() -> None:
    run_state.clear()
    run_state.written.update({"out/a.csv": 2, "out/a.txt": 9, "out2/b.csv": 9})
    assert run_state.written_in("out/", ".csv") == {"out/a.csv": 2}
    assert read_status(StreamJob("out"), 0) == (0, "1 hour written, 0 rejected, 0 late")
    run_state.clear()
