"""What is logged, the line that is renewed in its place, and the progress bar."""

import io
import logging
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.main import main
from pipeline.engine import logs
from pipeline.engine.logs import _is_visible
from pipeline.engine.run_state import run_state
from tests.support import EXAMPLE_EVENTS, json_lines

ENDED_JOB = """Traceback (most recent call last):
  File "apache_beam/runners/worker/sdk_worker.py", line 210, in default_factory
    return self._control_stub.GetProcessBundleDescriptor(
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
grpc._channel._InactiveRpcError: <_InactiveRpcError of RPC that terminated with:
\tstatus = StatusCode.UNKNOWN
\tdetails = "worker_id: 'job-001[job]' read from context metadata but not registered in worker pool"
>
"""
LOST_RUNNER = """Traceback (most recent call last):
  ...
grpc._channel._InactiveRpcError: <_InactiveRpcError of RPC that terminated with:
\tstatus = StatusCode.UNAVAILABLE
\tdetails = "Stream removed (recvmsg:Connection reset by peer (104))"
>
"""


PROCESSING = "Error processing instruction inst004. Original traceback is\n"
LOST = (ConnectionError, ConnectionError("Stream removed"), None)


@pytest.mark.parametrize(
    ("message", "error", "news"),
    [
        ("Failed to read inputs in the data plane.", LOST, False),
        ("Failed to read the clock.", LOST, True),
        (PROCESSING + ENDED_JOB, None, False),
        (PROCESSING + LOST_RUNNER, None, False),
        (PROCESSING + LOST_RUNNER.replace("UNAVAILABLE", "INTERNAL"), None, True),
    ],
)
def test_a_lost_engine_is_told_of_by_the_run(message: str, error: Any, news: bool) -> None:
    assert _is_visible(record(message, error)) is news


def test_tracebacks_of_users_errors_are_not_said_twice(capsys: pytest.CaptureFixture[str]) -> None:
    stream = logs.Filtered(sys.stderr)
    for text in (
        ENDED_JOB,
        "\n",
        LOST_RUNNER,
        "\n",
        "Traceback (most recent call last):\n  ...\npipeline.errors.RejectsError: 1 of 2 [while running 'x']\n",
        "\n",
        "Traceback (most recent call last):\n  ...\nValueError: a defect\n",
        "\n",
    ):
        stream.write(text)
    assert capsys.readouterr().err == "Traceback (most recent call last):\n  ...\nValueError: a defect\n\n"


def test_nothing_is_said_of_what_workers_meet_when_a_run_is_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    stream, text = logs.Filtered(sys.stderr), "Traceback (most recent call last):\n  ...\nRuntimeError: canceled\n"
    run_state.cancelled.set()
    try:
        for part in (text, "\n", "error: stopped\n"):
            stream.write(part)
        error = (RuntimeError, RuntimeError("canceled"), None)
        told = [_is_visible(record(f"Error processing instruction 1. {text}")), _is_visible(record("Failed", error))]
    finally:
        run_state.clear()
    assert (capsys.readouterr().err, told) == ("error: stopped\n", [False, False])
    assert _is_visible(record("Failed", error))


def record(message: str, error: Any = None) -> logging.LogRecord:
    return logging.LogRecord("apache_beam", logging.ERROR, "sdk_worker.py", 1, message, (), error)


def on_screen(written: str) -> list[str]:
    """The lines of a terminal to which this was written."""
    lines, column = [""], 0
    for character in written:
        if character == "\r":
            column = 0
        elif character == "\n":
            lines, column = [*lines, ""], 0
        else:
            lines[-1] = lines[-1][:column] + character + lines[-1][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


def test_a_line_is_renewed_in_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    logs.print_line("starts")
    logs.update_status("a long line")
    logs.update_status("short\x1b[2J")
    assert on_screen(capsys.readouterr().err) == ["starts", "short\\x1b[2J"]
    logs.clear_status()
    logs.clear_status()
    assert capsys.readouterr().err == f"\r{' ' * 12}\r"


def test_what_is_said_takes_the_place_of_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_is_visible)
    logs.update_status("a line that is long")
    handler.handle(logging.LogRecord("pipeline", logging.WARNING, "x.py", 1, "a warning", (), None))
    logs.update_status("another line")
    logs.print_line("the end")
    assert on_screen(capsys.readouterr().err) == ["a warning", "the end", ""]


def test_a_line_fits_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    logs.update_status("x" * 1000)
    logs.clear_status()
    assert "x" * 79 + "\r" in capsys.readouterr().err


class Screen(io.StringIO):
    """A terminal, or not, that tells when something was shown."""

    def __init__(self, terminal: bool, awaited: str) -> None:
        super().__init__()
        self._terminal, self._awaited = terminal, awaited
        self.shown = threading.Event()

    def isatty(self) -> bool:
        return self._terminal

    def write(self, text: str) -> int:
        written = super().write(text)
        if self._awaited in text:
            self.shown.set()
        return written


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_DELAY_SECONDS", 0.0)
    monkeypatch.setattr(logs, "_REFRESH_SECONDS", 0.01)


@pytest.mark.usefixtures("at_once")
def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(terminal=True, awaited="50%")
    monkeypatch.setattr(sys, "stderr", screen)
    with logs.progress_bar(2_000_000):
        run_state.add_bytes_read(1_000_000)
        assert screen.shown.wait(10)
    assert "1.00M/2.00M" in screen.getvalue()


@pytest.mark.usefixtures("at_once")
def test_no_progress_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(terminal=False, awaited="")
    monkeypatch.setattr(sys, "stderr", screen)
    with logs.progress_bar(2_000_000):
        run_state.add_bytes_read(1_000_000)
    assert screen.getvalue() == ""


def test_all_bytes_of_an_input_are_read(tmp_path: Path) -> None:
    source = tmp_path / "events.jsonl"
    source.write_bytes(json_lines(EXAMPLE_EVENTS) + b"no event\n")
    run_state.clear()
    main(["--input", str(source), "--output", str(tmp_path / "r.csv"), "--skip_rejects"])
    assert run_state.bytes_read == source.stat().st_size
