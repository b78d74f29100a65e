"""Options and their values: what they do, and what is wrong usage."""

import json
import os
import re
from pathlib import Path

import pytest

from tests import support
from tests.support import EXAMPLE_EVENTS, EXAMPLE_REPORT, call, failed, fails, line, succeeded

pytestmark = pytest.mark.usefixtures("example_folder")


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


def test_chart(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, "--input", "in/events.json", "--chart_output", "chart.html")
    succeeded(result, 6)
    assert result.err.endswith(": report in report.csv, chart in chart.html\n")
    page = Path("chart.html").read_text()
    assert page.count(EXAMPLE_REPORT) == 1
    assert "<title>events.json</title>" in page
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import|https?://(?!www\.w3\.org/)""", page)
    rows = re.findall(r'<tr><th scope="row">(.*?)</th><td>(.*?)</td></tr>', page)  # what is seen without scripts
    assert [",".join((hour, *values.split("</td><td>"))) for hour, values in rows] == EXAMPLE_REPORT.splitlines()[1:]
    assert Path("report.csv").read_text() == EXAMPLE_REPORT


def test_the_name_of_a_chart_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/events.json").rename("in/<script>alert(1)<!--.json")
    succeeded(call(capsys, "--input", "in", "--chart_output", "chart.html"), 6)
    assert "<script>alert" not in Path("chart.html").read_text()


def test_the_report_is_in_the_page_whatever_the_name_of_the_input(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("{the report as CSV}", "{csv}", "{}", "{0}", "{{scripts}}", "%s"):
        Path(f"in/{name}.jsonl").write_text("\n".join(map(json.dumps, EXAMPLE_EVENTS)))
        succeeded(call(capsys, f"in/{name}.jsonl", "--chart_output", "chart.html"), 6)
        page = Path("chart.html").read_text()
        assert (page.count(EXAMPLE_REPORT), f"<title>{name}.jsonl</title>" in page) == (1, True), name
