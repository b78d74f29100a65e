"""The command line: status codes, messages, and what is left in the folder. Most runs are in this process."""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from pipeline import unique_ids
from pipeline.transforms import read
from tests import faults, oracle
from tests.cli_support import failed, outputs, succeeded, text
from tests.support import EXAMPLE_EVENTS, EXAMPLE_REPORT, call, json_lines, run

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


def test_an_input_that_is_replaced_meanwhile(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one of the same size: as many bytes and lines are read as were listed, of two files."""
    path, sound = Path("in/a.jsonl"), read._read
    path.write_bytes(json_lines(EXAMPLE_EVENTS * 10))
    os.utime(path, (1, 1))
    faults.split_everywhere(monkeypatch)

    def reading(*arguments: Any) -> Iterator[Any]:
        yield from sound(*arguments)
        Path("in/.new").write_bytes(path.read_bytes())
        Path("in/.new").rename(path)

    with monkeypatch.context() as patch:
        patch.setattr(read, "_read", reading)
        result = call(capsys, "in/a.jsonl")
    failed(result, 1, r"in/a\.jsonl: was modified during the run")


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "UTC"])
def test_the_local_time_zone_does_not_matter(zone: str, tmp_path: Path) -> None:
    with open("in/events.json", "rb") as stream:
        result = text(run("--input", "-", "--output", "-", stdin=stream.read(), cwd=tmp_path, TZ=zone))
    succeeded(result, 6, report="standard output")
    assert result.out == EXAMPLE_REPORT
    assert outputs() == []


def test_a_file_whose_size_reads_as_0_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert os.path.getsize("/proc/version") == 0
    result = call(capsys, "--input", "/proc/versio?", "--input", "in", "--rejects_output", "rejects.jsonl")
    succeeded(result, 7, 6)
    assert json.loads(Path("rejects.jsonl").read_text())["raw"] == Path("/proc/version").read_text().strip()


def test_compressed_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/bad.jsonl").write_bytes(b"x\n")
    arguments = ["--output", "r.csv.gz", "--ids_output", "ids.txt.gz", "--rejects_output", "rejects.jsonl.zst"]
    succeeded(call(capsys, "--input", "in", *arguments), 7, 6, report="r.csv.gz")
    assert gzip.decompress(Path("r.csv.gz").read_bytes()).decode() == EXAMPLE_REPORT
    ids = oracle.ids_of_lines(gzip.decompress(Path("ids.txt.gz").read_bytes()))
    assert sorted(ids) == sorted(item["id"] for item in EXAMPLE_EVENTS)
    rejects = zstandard.ZstdDecompressor().decompressobj().decompress(Path("rejects.jsonl.zst").read_bytes())
    assert json.loads(rejects)["raw"] == "x"
    assert outputs() == ["ids.txt.gz", "r.csv.gz", "rejects.jsonl.zst"]


@pytest.mark.parametrize("name", ["n" * 251, "é" * 125, "caf\udce9"])
def test_outputs_of_any_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/bad.jsonl").write_bytes(b"x\n" * 3000)
    names = [f"{name}{suffix}" for suffix in (".csv", ".txt", ".gz")]
    arguments = ["--output", names[0], "--ids_output", names[1], "--rejects_output", names[2]]
    result = call(capsys, "--input", "in", *arguments)
    assert (result.status, "3006 events read" in result.err) == (0, True), result.err
    assert sorted(outputs()) == sorted(names)
    assert Path(names[0]).read_text() == EXAMPLE_REPORT


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
