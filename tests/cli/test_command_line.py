"""The command line: status codes, messages, and what is left in the folder. Most runs are in this process."""

import json
import os
from pathlib import Path

import pytest

from pipeline import unique_ids
from tests.support import EXAMPLE_EVENTS, EXAMPLE_REPORT, call, json_lines, outputs, run, succeeded

pytestmark = pytest.mark.usefixtures("example_folder")


def test_all_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/more.jsonl").write_bytes(b"x\n" + json_lines(EXAMPLE_EVENTS) + b"{}")
    result = call(capsys, "--input", "in", "--ids_output", "ids.txt", "--rejects_output=rejects.jsonl")
    succeeded(result, 14, 12)
    assert result.err.endswith(": report in report.csv, ids in ids.txt, rejects in rejects.jsonl\n")
    assert outputs() == ["ids.txt", "rejects.jsonl", "report.csv"]
    assert Path("ids.txt").read_text() == "".join(identity + "\n" for identity in unique_ids(EXAMPLE_EVENTS))
    assert sorted(Path("ids.txt").read_text().split()) == sorted(item["id"] for item in EXAMPLE_EVENTS)
    first, second = map(json.loads, Path("rejects.jsonl").read_text().splitlines())
    reason = "not JSON: Expecting value at character 0 of the record"
    assert first == {"source": "in/more.jsonl", "offset": 0, "index": None, "reason": reason, "raw": "x"}
    assert second == {
        "source": "in/more.jsonl",
        "offset": 2 + len(json_lines(EXAMPLE_EVENTS)),
        "index": None,
        "reason": "missing id, event and timestamp",
        "raw": "{}",
    }


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "UTC"])
def test_the_local_time_zone_does_not_matter(zone: str, tmp_path: Path) -> None:
    with open("in/events.json", "rb") as stream:
        result = run("--input", "-", "--output", "-", stdin=stream.read(), cwd=tmp_path, TZ=zone)
    succeeded(result, 6, report="standard output")
    assert result.out == EXAMPLE_REPORT
    assert outputs() == []


def test_a_file_whose_size_reads_as_0_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert os.path.getsize("/proc/version") == 0
    result = call(capsys, "--input", "/proc/versio?", "--input", "in", "--rejects_output", "rejects.jsonl")
    succeeded(result, 7, 6)
    assert json.loads(Path("rejects.jsonl").read_text())["raw"] == Path("/proc/version").read_text().strip()


def test_large_outputs_in_a_folder_that_is_not_utf_8(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So large that pieces wait in files, whose names then travel."""
    monkeypatch.setattr("pipeline.engine.spill._INLINE_BYTES", 0)
    Path("out\udce9").mkdir()
    Path("in/bad\udce9.jsonl").write_bytes(b"x\n")
    arguments = ["--output", "out\udce9/r.csv", "--ids_output", "out\udce9/i", "--rejects_output", "out\udce9/rejects"]
    result = call(capsys, "--input", "in", *arguments)
    assert result.status == 0, result.err
    assert "report in out\\xe9/r.csv, ids in out\\xe9/i, rejects in out\\xe9/rejects" in result.err
    assert sorted(os.listdir("out\udce9")) == ["i", "r.csv", "rejects"]
    assert json.loads(Path("out\udce9/rejects").read_text())["source"] == "in/bad\\xe9.jsonl"


def test_sidecar_files_are_left_out_and_the_summary_says_how_many(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/_SUCCESS").touch()
    Path("in/.events.json.crc").write_bytes(b"crc\0")
    Path("in/events.json.crc").write_bytes(b"crc\0")
    result = call(capsys, "in")
    assert (result.status, Path("report.csv").read_text()) == (0, EXAMPLE_REPORT)
    assert "6 events read, 6 counted, 0 rejected, 3 hours, 2 sidecar files skipped, " in result.err
