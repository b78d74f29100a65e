"""The progress bar: on a terminal it follows what readers count, elsewhere it is silent."""

import io
import sys
import threading

import pytest

from pipeline.engine import progress


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
    with progress.shown(2_000_000):
        progress.add_bytes(1_000_000)
        assert screen.shown.wait(10)
    assert "1.00M/2.00M" in screen.getvalue()


def test_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(terminal=False, awaited="")
    monkeypatch.setattr(sys, "stderr", screen)
    with progress.shown(2_000_000):
        progress.add_bytes(1_000_000)
    assert screen.getvalue() == ""
