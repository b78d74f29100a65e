"""The progress bar: on a terminal it follows what readers count, elsewhere it is silent."""

import io
import sys
import threading
from pathlib import Path

import pytest

from pipeline.cli.main import main
from pipeline.engine import logs
from pipeline.engine.run_state import run_state
from tests.support import EXAMPLE_EVENTS, json_lines


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


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_DELAY_SECONDS", 0.0)
    monkeypatch.setattr(logs, "_REFRESH_SECONDS", 0.01)


def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(terminal=True, awaited="50%")
    monkeypatch.setattr(sys, "stderr", screen)
    with logs.progress_bar(2_000_000):
        run_state.add_bytes_read(1_000_000)
        assert screen.shown.wait(10)
    assert "1.00M/2.00M" in screen.getvalue()


def test_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
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
