"""Whatever is dropped or doubled on its way ends a drained stream with an error; on Prism, a process each."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.faulty_stream import FAULTS
from tests.support import ROOT, event, hourly_reports, json_lines

EVENTS = [event(f"id-{k % 60}", "video_25", 1617393003 + 900 * (k % 9)) for k in range(100)]


def _stream(folder: Path, fault: str) -> subprocess.CompletedProcess[str]:
    """A stream over files in cells of 300 bytes."""
    lines = json_lines(EVENTS)
    files = {"a.jsonl": lines, "b.json": b"[" + lines.strip().replace(b"\n", b",") + b"]", "empty.jsonl": b""}
    (folder / "in").mkdir()
    for name, data in {**files, "broken.json": b"[1,", "no.jsonl.gz": b"no gzip"}.items():
        (folder / "in" / name).write_bytes(data)
    places = ("--input", f"{folder}/in/*", "--output", f"{folder}/out", "--ids_output", f"{folder}/ids")
    prism = f"--prism_location={ROOT / 'build/tools/prism'}"
    command = [sys.executable, "-m", "tests.integration.faulty_stream", fault, "--streaming", *places, prism]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_without_a_fault_everything_adds_up(tmp_path: Path) -> None:
    run = _stream(tmp_path, "none")
    assert (run.returncode, "202 events read, 200 counted, 2 rejected" in run.stderr) == (0, True), run.stderr
    assert hourly_reports(tmp_path / "out").count("\n") > 2


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "none"])
def test_what_is_dropped_or_doubled(fault: str, tmp_path: Path) -> None:
    run = _stream(tmp_path, fault)
    assert (run.returncode, "please report this" in run.stderr) == (1, True), run.stderr
