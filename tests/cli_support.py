"""What tests of the command line share."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine.logs import plural
from tests.support import Run, call, line

EARLIER = "an earlier report\n"
GOOD = line("a", "video_25", 1)
GOOD_ROW = "1970-01-01T01:00:00+01:00,0,0,1,0,0,0,0.0\n"


def outputs() -> list[str]:
    """What is in the folder beside the inputs; hidden files too."""
    return sorted(name for name in os.listdir() if name != "in")


def succeeded(result: Run, read: int, counted: int | None = None, hours: int = 3, report: str = "report.csv") -> None:
    """Status 0 and nothing but the summary on stderr."""
    counted = read if counted is None else counted
    numbers = f"{plural(read, 'event')} read, {counted} counted, {read - counted} rejected, {plural(hours, 'hour')}"
    summary = rf"{numbers}, \d+\.\d s: report in {report}(, (ids|rejects|chart) in \S+)*\n"
    assert re.fullmatch(summary, result.err), result.err
    assert result.status == 0


def failed(result: Run, status: int, reason: str, left: tuple[str, ...] = ()) -> None:
    """The status, one clear line on stderr, no traceback, nothing on stdout, and nothing in the folder but left."""
    assert re.fullmatch(rf"error: .*{reason}.*\n", result.err), result.err
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err
    assert (result.status, result.out) == (status, "")
    assert outputs() == sorted(left)


HINT = "hint: use --rejects_output FILE to write invalid records to FILE and continue\n"


def rejected(result: Run, count: str, *lines: str, left: tuple[str, ...] = ()) -> None:
    """Status 1, a line that counts, one for each reject that is shown, and the hint; nothing left in the folder."""
    shown = "".join(f"  {line}.*\n" for line in lines)
    assert re.fullmatch(rf"error: {count} records rejected\n{shown}{HINT}", result.err), result.err
    assert (result.status, result.out) == (1, "")
    assert outputs() == sorted(left)


def fails(
    capsys: pytest.CaptureFixture[str], status: int, reason: str, *arguments: str, outs: tuple[str, ...] = ()
) -> None:
    """A run that fails leaves nothing behind, and an earlier report as it was."""
    Path("report.csv").write_text(EARLIER)
    failed(call(capsys, *arguments), status, reason, ("report.csv", *outs))
    assert Path("report.csv").read_text() == EARLIER


def text(result: Any) -> Run:
    return Run(result.returncode, result.stdout.decode(), result.stderr.decode())


EVERY = ("--output", "report.csv", "--ids_output", "ids.txt", "--rejects_output", "rejects.jsonl")
