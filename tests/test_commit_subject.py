"""The check of commit messages: what it accepts, and what it refuses with which reason."""

import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT


def check(folder: Path, message: str) -> str:
    (folder / "message").write_text(message)
    command = [ROOT / ".ci" / "commit-subject", folder / "message"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode == 0) == (not done.stderr)
    return done.stderr


@pytest.mark.parametrize("subject", ["Read Parquet through pyarrow alone", "Process blocks", "Merge branch 'x'"])
def test_imperative_subjects_are_accepted(subject: str, tmp_path: Path) -> None:
    assert check(tmp_path, f"{subject}\n\nAdded later: any text, of any length {'x' * 80}.\n# a comment\n") == ""


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        ("Read " + "x" * 70, "75 characters"),
        ("read Parquet", "capital letter"),
        ("Read Parquet.", "full stop"),
        ("Reads Parquet", "imperative"),
        ("Added Parquet", "imperative"),
        ("Reading Parquet", "imperative"),
        ("", "empty"),
    ],
)
def test_other_subjects_are_refused(subject: str, reason: str, tmp_path: Path) -> None:
    assert reason in check(tmp_path, subject)
