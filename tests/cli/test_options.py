"""Options and their values: what they do, and what is wrong usage."""

import os
from pathlib import Path

import pytest

from tests import support
from tests.cli_support import failed, fails, succeeded
from tests.support import EXAMPLE_REPORT, HEADER, call, event, json_lines, line

pytestmark = pytest.mark.usefixtures("example_folder")


def test_other_offset_and_factor(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/a.jsonl").write_bytes(json_lines([event(timestamp=1800), event(timestamp=1799)] * 3))
    arguments = ["--input", "in/a.jsonl", "--utc_offset", "+05:30", "--impressions_factor", "2.50"]
    succeeded(call(capsys, *arguments), 6, hours=2)
    assert Path("report.csv").read_text() == HEADER + (
        "1970-01-01T05:00:00+05:30,3,0,0,0,0,0,7.50\n1970-01-01T06:00:00+05:30,3,0,0,0,0,0,7.50\n"
    )
    succeeded(call(capsys, "--input", "in/a.jsonl", "--utc_offset=-03:00"), 6, hours=1)
    assert Path("report.csv").read_text() == HEADER + "1969-12-31T21:00:00-03:00,6,0,0,0,0,0,0.6\n"


def test_time_zone(capsys: pytest.CaptureFixture[str]) -> None:
    night = [event(f"i{k}", timestamp=1635638400 + second) for k, second in enumerate((-1, 0, 3599, 3600, 7200))]
    Path("in/a.jsonl").write_bytes(json_lines(night))
    succeeded(call(capsys, "--input", "in/a.jsonl", "--time_zone", "Europe/Paris"), 5, hours=4)
    assert Path("report.csv").read_text() == HEADER + (
        "2021-10-31T01:00:00+02:00,1,0,0,0,0,0,0.1\n2021-10-31T02:00:00+02:00,2,0,0,0,0,0,0.2\n"
        "2021-10-31T02:00:00+01:00,1,0,0,0,0,0,0.1\n2021-10-31T03:00:00+01:00,1,0,0,0,0,0,0.1\n"
    )


def test_beam_options_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--runner", "DirectRunner", support.NO_DOWNLOAD, "--job_name", "hours", "--direct_num_workers=1"]
    succeeded(call(capsys, "--input", "in", *arguments), 6)
    assert Path("report.csv").read_text() == EXAMPLE_REPORT


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--output", "x.csv"], "--input is missing"),
        (["--input", "missing.json"], "--input missing.json: no such file"),
        (["--input", ""], "--input"),
        (["--input"], "--input"),
        (["--input", "in", "--utc_offset", "1"], "UTC offset '1' is not of the form"),
        (
            ["--input", "in", "--time_zone", "Europe/Pariss"],
            "time zone 'Europe/Pariss'; did you mean Europe/Paris",
        ),
        (["--input", "in", "--time_zone", "UTC", "--utc_offset", "+01:00"], "mutually exclusive"),
        (["--input", "in", "--impressions_factor", "x"], "factor 'x'"),
        (["--input", "in", "--output", "missing/report.csv"], "missing/report.csv: cannot be written: No such file"),
        (["--input", "in", "--output", "in"], "in: cannot be written: it is a folder"),
        (["--input", "in", "--output", ""], "--output cannot be written: the name is empty"),
        (["--input", "in", "--ids_output", "missing/ids.txt"], "missing/ids.txt: cannot be written"),
        (["--input", "in", "--rejects_output", "missing/r.jsonl"], "missing/r.jsonl: cannot be written"),
        (["--input", "in", "--output", "x", "--ids_output", "x"], "two outputs have the same name: x"),
        (["--input", "in", "--ids_output", "x", "--rejects_output", "in/../x"], "two outputs have the same name"),
        (["--input", "in", "--output", "link/x", "--ids_output", "in/x"], "two outputs have the same name"),
        (["--input", "in", "--output", "in/events.json"], "in/events.json is both input and output"),
        (["--input", "in", "--rejects_output", "link/events.json"], "is both input and output"),
        (["--input", "in", "--ids_output", "-"], "only --output can be standard output"),
        (["--input", "in", "--rejects_output", "-"], "only --output can be standard output"),
        (["--input", "in", "--chart_output", "x.svg"], "--chart_output x.svg: must end in .html"),
        (["--input", "missing", "--chart_output", "x"], "--chart_output x: must end in .html"),
        (["--input", "in", "--chart_output", "missing/x.html"], "missing/x.html: cannot be written"),
        (["--input", "in", "--output", "x.html", "--chart_output", "x.html"], "two outputs have the same name: x.html"),
        (
            ["--streaming", "--input", "in", "--chart_output", "x.html"],
            "--chart_output cannot be combined",
        ),
        (["--input", "-", "--runner", "DataflowRunner"], "need a local runner"),
        (["--input", "in", "--outptu", "x"], "unknown option or stray argument: --outptu: did you mean --output"),
        (["--input", "in", "stray"], "--input stray: no such file"),
        (["--input", "in", "--direct_num_workers", "many"], "direct_num_workers"),
        (["--input", "in", "--direct_num_workers=-1"], r"--direct_num_workers -1: must be 0 \(one per CPU\) or more"),
        (["--input", "in", "--runner", "NoSuchRunner"], "--runner NoSuchRunner: "),
        (["--input", "in", "--runner", "DataflowRunner"], "--project is missing: DataflowRunner needs it"),
        (["--input", "bad.lzma"], "compression is not supported"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_wrong_usage(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.symlink("in", "link")
    before = Path("in/events.json").read_bytes()
    Path("bad.lzma").touch()
    fails(capsys, 2, reason, *arguments, outs=("bad.lzma", "link"))
    assert Path("in/events.json").read_bytes() == before
    assert os.listdir("in") == ["events.json"]


def test_an_output_that_is_no_file_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe (or device: think of /dev/null and root) must not be replaced by a file."""
    os.mkfifo("pipe")
    result = call(capsys, "--input", "in", "--output", "pipe")
    assert Path("pipe").is_fifo()
    failed(result, 2, "pipe: cannot be written", ("pipe",))


def test_an_engine_that_cannot_read_in_parts_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "a.jsonl"
    source.write_bytes(line() + b"\n")
    result = call(capsys, "--input", str(source), "--runner", "BundleBasedDirectRunner")
    assert (result.status, result.out) == (2, "")
    assert result.err == "error: --runner BundleBasedDirectRunner cannot read files in parts: use FnApiRunner\n"


@pytest.mark.parametrize("option", ["--input", "--output", "--ids_output", "--rejects_output"])
def test_a_bucket_without_an_object_is_wrong_usage(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = "gs://bucket"
    arguments = [option, path] if option == "--input" else ["--input", "in", option, path]
    failed(call(capsys, *arguments), 2, f"{path}: no object or folder after the bucket's name")


@pytest.mark.parametrize(
    ("option", "name", "what"),
    [
        ("--output", "report.parquet", "CSV"),
        ("--output", "report.csv.bz2", "CSV"),
        ("--ids_output", "ids.json", "one id per line"),
        ("--rejects_output", "rejects.csv", "JSON Lines"),
    ],
)
def test_a_suffix_of_another_format(option: str, name: str, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys, 2, rf"{option} {name}: suffix \.\w+, but this output is {what}", "--input", "in", option, name)
