"""Where tests of the command line run."""

import json
from pathlib import Path

import pytest

from tests.support import EXAMPLE_EVENTS


@pytest.fixture
def example_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with the six example events in another one below it."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/events.json").write_text(json.dumps({"mock_for_test": EXAMPLE_EVENTS}))
