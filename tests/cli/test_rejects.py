"""What is said of rejects, and where they are kept."""

import bz2
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tests.support import GOOD, GOOD_ROW, HEADER, HINT, ROOT, call, fails, outputs, rejected, run, succeeded

pytestmark = pytest.mark.usefixtures("example_folder")


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, zstandard.compress])
def test_lines_are_those_of_the_decompressed_file(
    compress: Callable[[bytes], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    suffix = {bytes: "", gzip.compress: ".gz", bz2.compress: ".bz2", zstandard.compress: ".zst"}[compress]
    data = b"\xef\xbb\xbf" + b"\n" * 9000 + (GOOD + b"\r\n") * 100_000 + b"  \nx\r\n" + GOOD + b"\ny"
    Path(f"in/a.jsonl{suffix}").write_bytes(compress(data))
    places = [f"in/a.jsonl{suffix}:{9000 + 100_000 + number}: not JSON" for number in (2, 4)]
    rejected(call(capsys, "--input", f"in/a.jsonl{suffix}"), "2 of 100003", *places)


def test_only_the_first_rejects_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/b.jsonl").write_bytes(b"x\n" * 30)
    Path("in/a.json").write_text("[1, 2]")
    result = call(capsys, "--input", "in/?.*")
    lines = ["in/a.json: index 0: ", "in/a.json: index 1: ", *(f"in/b.jsonl:{n}: " for n in (1, 2, 3)), "and 27 more"]
    rejected(result, "32 of 32", *lines)


def test_one_bad_line_among_a_million(capsys: pytest.CaptureFixture[str]) -> None:
    some = b"".join(GOOD[:-1] + b',"n":%d}\n' % k for k in range(1000))
    data = some * 613 + b'{"id":"a","event":"video_25","timestamp":"1"}\n' + some * 387
    Path("in/a.jsonl").write_bytes(data)
    place = "in/a.jsonl:613001: timestamp must be whole Unix seconds"
    rejected(call(capsys, "--input", "in/a.jsonl"), "1 of 1000001", place)
    succeeded(call(capsys, "--input", "in/a.jsonl", "--rejects_output", "rejects.jsonl"), 1_000_001, 1_000_000, hours=1)
    assert Path("report.csv").read_text() == HEADER + GOOD_ROW.replace(",1,", ",1000000,")
    assert json.loads(Path("rejects.jsonl").read_text())["offset"] == 613 * len(some)


def test_a_reject_of_parquet_has_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(ROOT / "tests" / "files" / "bad-utf8.parquet", "in/a.parquet")
    places = ["in/a.parquet: row 1: id is not UTF-8", "in/a.parquet: row 2: event is not UTF-8"]
    rejected(call(capsys, "--input", "in/a.parquet"), "2 of 3", *places)
    succeeded(call(capsys, "--input", "in/a.parquet", "--skip_rejects"), 3, 1, hours=1)


def test_rejects_in_other_processes_end_with_one_line(tmp_path: Path) -> None:
    """Workers log before it where the gcp extra is missing: a warning at the import of Beam then sets up logging."""
    source = tmp_path / "bad.jsonl"
    source.write_bytes(b"{}\n")
    options = ("--direct_running_mode", "multi_processing", "--direct_num_workers", "2")
    result = run("--input", str(source), "--output", str(tmp_path / "r.csv"), *options)
    assert result.status == 1
    error, hint = result.err.splitlines()[-2:]
    assert error.startswith("error: 1 of 1 records rejected: ")
    assert hint + "\n" == HINT


def test_rejects_that_are_skipped_are_counted_however_many(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/bad.jsonl").write_bytes(b"x\n" * 1_000_000 + GOOD + b"\n")
    result = call(capsys, "in/bad.jsonl", "--skip_rejects", "--ids_output", "ids.txt")
    succeeded(result, 1_000_001, 1, hours=1)
    assert Path("report.csv").read_text() == HEADER + GOOD_ROW
    assert outputs() == ["ids.txt", "report.csv"]


def test_rejects_are_skipped_or_written_not_both(capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys, 2, "not allowed with argument", "in", "--skip_rejects", "--rejects_output", "r.jsonl")


def test_a_broken_array_is_an_error_also_where_rejects_are_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/a.json").write_text("[1")
    fails(capsys, 1, "in/a.json: byte 2: JSON array is truncated", "in/a.json", "--skip_rejects")
