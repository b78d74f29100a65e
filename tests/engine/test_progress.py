"""The progress bar: on a terminal it follows what readers count, elsewhere it is silent."""

import io
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from pipeline.cli.main import main
from pipeline.engine import progress
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
    monkeypatch.setattr(progress, "_DELAY_SECONDS", 0.0)
    monkeypatch.setattr(progress, "_REFRESH_SECONDS", 0.01)


def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(terminal=True, awaited="50%")
    monkeypatch.setattr(sys, "stderr", screen)
    with progress.progress_bar(2_000_000):
        progress.add(progress.READING, 1_000_000)
        assert screen.shown.wait(10)
    assert "1.00M/2.00M" in screen.getvalue()


def test_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(terminal=False, awaited="")
    monkeypatch.setattr(sys, "stderr", screen)
    with progress.progress_bar(2_000_000):
        progress.add(progress.READING, 1_000_000)
    assert screen.getvalue() == ""


def test_phases_follow_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(terminal=True, awaited="merging ids:  25%")
    monkeypatch.setattr(sys, "stderr", screen)
    with progress.progress_bar(2_000_000):
        progress.add(progress.READING, 2_000_000)
        progress.add(progress.MERGING, 4, 16)
        assert screen.shown.wait(10)


def test_a_run_with_ids_tells_of_each_phase(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: Counter[str] = Counter()
    monkeypatch.setattr(progress, "add", lambda phase, count, total=None: told.update({phase: count}))
    source = tmp_path / "events.jsonl"
    source.write_bytes(json_lines(EXAMPLE_EVENTS) + b"no event\n")
    outputs = {"output": "r.csv", "ids_output": "ids.txt", "rejects_output": "rejects.jsonl"}
    main(["--input", str(source), *(f"--{option}={tmp_path / name}" for option, name in outputs.items())])
    assert told[progress.READING] == source.stat().st_size
    assert told[progress.MERGING] > 0
    assert told[progress.WRITING] == (tmp_path / "rejects.jsonl").stat().st_size
