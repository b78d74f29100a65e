"""The command line: status codes, messages, and what is left in the folder. Most runs are in this process."""

import bz2
import contextlib
import gzip
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import zstandard
from apache_beam.io.filesystems import FileSystems

from pipeline import unique_ids
from pipeline.engine import logs
from tests import oracle, support
from tests.serving_support import await_true
from tests.support import EXAMPLE_EVENTS, EXAMPLE_REPORT, HEADER, ROOT, Run, call, event, json_lines, line, run

EARLIER = "an earlier report\n"
GOOD = line("a", "video_25", 1)
GOOD_ROW = "1970-01-01T01:00:00+01:00,0,0,1,0,0,0,0.0\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/events.json").write_text(json.dumps({"mock_for_test": EXAMPLE_EVENTS}))


def outputs() -> list[str]:
    """What is in the folder beside the inputs; hidden files too."""
    return sorted(name for name in os.listdir() if name != "in")


def succeeded(result: Run, read: int, counted: int | None = None, hours: int = 3, report: str = "report.csv") -> None:
    """Status 0 and nothing but the summary on stderr."""
    counted = read if counted is None else counted
    numbers = f"{read} events read, {counted} counted, {read - counted} rejected, {hours} hours"
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


HINT = "hint: --rejects_output FILE keeps them there and goes on\n"


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


# What works.


def test_example(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, "--input", "in/events.json")
    succeeded(result, 6)
    assert result.out == ""
    assert outputs() == ["report.csv"]
    assert Path("report.csv").read_bytes() == EXAMPLE_REPORT.encode()


def test_the_example_of_the_repository(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, "--input", str(ROOT / "examples" / "events.json"), "--output=-")
    succeeded(result, 6, report="standard output")
    assert result.out == EXAMPLE_REPORT


def test_an_earlier_report_is_replaced_whole(capsys: pytest.CaptureFixture[str]) -> None:
    Path("out.csv").write_text("x" * 100_000)
    succeeded(call(capsys, "--input", "in/events.json", "--output", "out.csv"), 6, report="out.csv")
    assert Path("out.csv").read_text() == EXAMPLE_REPORT
    assert outputs() == ["out.csv"]


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
        "reason": "missing id and event and timestamp",
        "raw": "{}",
    }


def test_without_rejects_their_file_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    Path("rejects.jsonl").write_text("earlier")
    succeeded(call(capsys, "--input", "in", "--rejects_output", "rejects.jsonl"), 6)
    assert Path("rejects.jsonl").read_bytes() == b""


def test_several_inputs_of_all_shapes(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/a.json").write_text(json.dumps(EXAMPLE_EVENTS))
    Path("in/b.jsonl").write_bytes(json_lines(EXAMPLE_EVENTS))
    Path("in/c.jsonl.gz").write_bytes(gzip.compress(json_lines(EXAMPLE_EVENTS)))
    Path("in/[d].json").write_text("\ufeff" + json.dumps(EXAMPLE_EVENTS))
    arguments = ["--input", "in/a.json", "--input=in/*.jsonl", "--input", "in/c.jsonl.gz", "--input", "in/[d].json"]
    succeeded(call(capsys, *arguments), 24)
    events = [(item["id"], item["event"], item["timestamp"]) for item in EXAMPLE_EVENTS]
    assert Path("report.csv").read_text() == oracle.report(events * 4)
    succeeded(call(capsys, "--input", "in"), 30)
    assert Path("report.csv").read_text() == oracle.report(events * 5)


def test_standard_input_and_output(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with open("in/events.json", "rb") as stream:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
        result = call(capsys, "--input", "-", "--output", "-")
    succeeded(result, 6, report="standard output")
    assert result.out == EXAMPLE_REPORT
    assert outputs() == []


def test_standard_input_named_twice(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It must be counted once or refused, but never lost."""
    with open("in/events.json", "rb") as stream:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
        result = call(capsys, "--input", "-", "--input", "-", "--output", "-")
    assert (result.status, result.out) in ((0, EXAMPLE_REPORT), (2, ""))


def test_a_reject_from_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("in/bad.jsonl").write_bytes(GOOD + b"\nx\n")
    with open("in/bad.jsonl", "rb") as stream:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
        rejected(call(capsys, "--input", "-"), "1 of 2", "standard input:2: not JSON")


@pytest.mark.parametrize("data", [b"", b"[]", b'{"mock_for_test": []}', b"\n\n", b"\xef\xbb\xbf"])
def test_no_events_give_a_report_of_the_header_alone(data: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/a.json").write_bytes(data)
    succeeded(call(capsys, "--input", "in/a.json", "--ids_output", "ids.txt"), 0, hours=0)
    assert Path("report.csv").read_text() == HEADER
    assert Path("ids.txt").read_text() == ""


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


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        call(capsys, "--help")
    assert end.value.code == 0
    text = capsys.readouterr().out
    options = ("--input", "--output", "--ids_output", "--rejects_output", "--utc_offset", "--impressions_factor")
    for option in (*options, "--time_zone"):
        assert option in text


# Rejects.

REJECTS = [
    (line(kind="click"), "unknown event 'click', must be one of impressions, video_start, video_25, "),
    (b'{"id":"a","event":"video_25"}', "missing timestamp"),
    (b'{"id":"a","event":"video_25","timestamp":true}', "timestamp must be whole Unix seconds, not a boolean"),
    (b'{"id":"a","event":"video_25","timestamp":1.0}', "timestamp must be whole Unix seconds, not a number with"),
    (b'{"id":"a","event":"video_25","timestamp":"1"}', "timestamp must be whole Unix seconds, not a string"),
    (b'{"id":"a","event":"video_25","timestamp":null}', "timestamp must be whole Unix seconds, not null"),
    (b'{"id":7,"event":"video_25","timestamp":1}', "id must be a string, not a number"),
    (line(timestamp=1617393003000), r"timestamp must be below 253402297200 seconds \(milliseconds\?"),
    (line(timestamp=-1), "timestamp must not be negative"),
    (b'{"id":"a","event":"video_25","timestamp":1,"event":"video_50"}', "the name 'event' stands twice"),
    (b'{"id":"a","event":"video_25","timestamp":NaN}', "not JSON: NaN is not JSON"),
    (b'{"id":"\xff","event":"video_25","timestamp":1}', "not JSON: invalid UTF-8 at byte 7"),
    (b'{"id":"\\ud800","event":"video_25","timestamp":1}', "not JSON: a lone surrogate"),
    (GOOD[:-1] + b',"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "not JSON: nested deeper than 200"),
    (b"[" * 10_000, "not JSON: nested deeper than 200 levels"),
    (b'{"id":"a","event":"video_25","timestamp":' + b"1" * 5000 + b"}", "timestamp must be below 253402297200"),
    (b'{"id":"a","event":"video_25","timestamp":1', "not JSON: "),
    (b"hour,impressions", "not JSON: "),
    (b"\x00\x01\x02", "not JSON: "),
]


def test_bad_lines_are_kept_where_somebody_asks(capsys: pytest.CaptureFixture[str]) -> None:
    """With all kinds of them in one file, each between good ones."""
    data = b"".join(GOOD + b"\n" + record + b"\r\n" for record, _ in REJECTS)
    Path("in/a.jsonl").write_bytes(data)
    count = len(REJECTS)
    arguments = ["--input", "in/a.jsonl", "--rejects_output", "rejects.jsonl"]
    succeeded(call(capsys, *arguments), 2 * count, count, hours=1)
    assert Path("report.csv").read_text() == HEADER + GOOD_ROW.replace(",1,", f",{count},")
    rejects = [json.loads(text) for text in Path("rejects.jsonl").read_text().splitlines()]
    at = 0
    for reject, (record, reason) in zip(rejects, REJECTS, strict=True):
        at += len(GOOD) + 1
        assert (reject["source"], reject["offset"]) == ("in/a.jsonl", at)
        assert re.match(reason, reject["reason"])
        assert reject["raw"] == record[:1024].decode(errors="backslashreplace")
        at += len(record) + 2


@pytest.mark.parametrize(("record", "reason"), REJECTS[::3], ids=[reason[:40] for _, reason in REJECTS[::3]])
def test_a_bad_line_ends_the_run(record: bytes, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Some kinds; the test before has them all."""
    Path("in/a.jsonl").write_bytes(GOOD + b"\n" + record + b"\n" + GOOD)
    rejected(call(capsys, "--input", "in/a.jsonl"), "1 of 3", f"in/a.jsonl:2: {reason}")


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, zstandard.compress])
def test_lines_are_those_of_the_decompressed_file(
    compress: Callable[[bytes], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    suffix = {bytes: "", gzip.compress: ".gz", bz2.compress: ".bz2", zstandard.compress: ".zst"}[compress]
    data = b"\xef\xbb\xbf" + b"\n" * 9000 + (GOOD + b"\r\n") * 100_000 + b"  \nx\r\n" + GOOD + b"\ny"
    Path(f"in/a.jsonl{suffix}").write_bytes(compress(data))
    places = [f"in/a.jsonl{suffix}:{9000 + 100_000 + number}: not JSON" for number in (2, 4)]
    rejected(call(capsys, "--input", f"in/a.jsonl{suffix}"), "2 of 100003", *places)


def test_rejects_leave_no_output_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/a.jsonl").write_bytes(GOOD + b"\nx\n")
    rejected(call(capsys, "--input", "in/a.jsonl", "--ids_output", "ids.txt"), "1 of 2", "in/a.jsonl:2: not JSON")


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


def test_a_reject_in_an_array_has_its_index(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/a.json").write_text(json.dumps([event(), event(kind="click"), event()]))
    rejected(call(capsys, "--input", "in/a.json"), "1 of 3", "in/a.json: index 1: unknown event 'click'")
    succeeded(call(capsys, "--input", "in/a.json", "--rejects_output", "rejects.jsonl"), 3, 2, hours=1)
    assert json.loads(Path("rejects.jsonl").read_text())["index"] == 1


# Sources that are errors as a whole.


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.json", json.dumps(EXAMPLE_EVENTS).encode()[:-1], "the array breaks off"),
        ("a.json", json.dumps(EXAMPLE_EVENTS).encode()[:-20], "the array breaks off"),
        ("a.json", json.dumps({"mock_for_test": EXAMPLE_EVENTS}).encode()[:-1], "the array breaks off"),
        ("a.json", b"[" + GOOD + b",]", "not JSON"),
        ("a.json", b"[" + GOOD + b" " + GOOD + b"]", "not JSON"),
        ("a.json", b'[{"id":NaN}]', "not JSON: NaN"),
        ("a.json", b"[" * 10_000 + b"]" * 10_000, "nested deeper than 200"),
        ("a.json", b'["\xff"]', "invalid UTF-8"),
        ("a.jsonl.gz", gzip.compress(json_lines(EXAMPLE_EVENTS * 9))[:-9], "cannot be read: Truncated"),
        ("a.jsonl.gz", json_lines(EXAMPLE_EVENTS), "cannot be read: "),
        ("a.jsonl.zst", json_lines(EXAMPLE_EVENTS), "cannot be read: "),
        ("a.jsonl.bz2", json_lines(EXAMPLE_EVENTS), "cannot be read: "),
        ("a.parquet", json_lines(EXAMPLE_EVENTS), "not a Parquet file"),
        ("a.parquet", b"", "not a Parquet file"),
    ],
)
def test_a_broken_source(name: str, data: bytes, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("in", name).write_bytes(data)
    every = ["--input", "in", "--ids_output", "ids.txt", "--rejects_output", "rejects.jsonl"]
    fails(capsys, 1, f"in/{name}: .*{reason}", *every)


def test_a_broken_source_on_the_direct_runner(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/a.json").write_text("[1")
    Path("in/b.jsonl").write_text("x\n")
    options = ["--runner", "DirectRunner", support.NO_DOWNLOAD]
    fails(capsys, 1, "in/a.json: byte 2: the array breaks off", "--input", "in/a.json", *options)
    result = call(capsys, "--input", "in/b.jsonl", *options)
    rejected(result, "1 of 1", "in/b.jsonl:1: not JSON", left=("report.csv",))


# Wrong usage.


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--output", "x.csv"], "--input is missing"),
        (["--input", "missing.json"], "--input missing.json: no such file"),
        (["--input", "in/*.missing"], r"--input in/\*.missing: no such file, or nothing matches"),
        (["--input", "in", "--input", "missing"], "--input missing: no such file"),
        (["--input", ""], "--input"),
        (["--input"], "--input"),
        (["--input", "in", "--utc_offset", "1"], "UTC offset '1' is not of the form"),
        (["--input", "in", "--utc_offset", "+19:00"], "UTC offset"),
        (["--input", "in", "--utc_offset", "Europe/Paris"], "UTC offset"),
        (["--input", "in", "--utc_offset", ""], "UTC offset"),
        (
            ["--input", "in", "--time_zone", "Europe/Pariss"],
            "time zone 'Europe/Pariss'; was Europe/Paris meant",
        ),
        (["--input", "in", "--time_zone", ""], "unknown time zone ''"),
        (["--input", "in", "--time_zone", "Australia/Lord_Howe"], "its offsets since 1970 differ by less than whole"),
        (["--input", "in", "--time_zone", "UTC", "--utc_offset", "+01:00"], "only one of them"),
        (["--input", "in", "--impressions_factor", "x"], "factor 'x'"),
        (["--input", "in", "--impressions_factor", "NaN"], "factor 'NaN'"),
        (["--input", "in", "--impressions_factor=-1"], "factor '-1'"),
        (["--input", "in", "--impressions_factor", "1e3"], "factor '1e3'"),
        (["--input", "in", "--output", "missing/report.csv"], "missing/report.csv: cannot be written: No such file"),
        (["--input", "in", "--output", "in/events.json/x"], "in/events.json/x: cannot be written: Not a directory"),
        (["--input", "in", "--output", "in"], "in: cannot be written: it is a folder"),
        (["--input", "in", "--output", "in/"], "in/: cannot be written: it is a folder"),
        (["--input", "in", "--output", ""], "--output cannot be written: the name is empty"),
        (["--input", "in", "--output", "."], "cannot be written"),
        (["--input", "in", "--ids_output", "missing/ids.txt"], "missing/ids.txt: cannot be written"),
        (["--input", "in", "--rejects_output", "missing/r.jsonl"], "missing/r.jsonl: cannot be written"),
        (["--input", "in", "--output", "x", "--ids_output", "x"], "two outputs have the same name: x"),
        (["--input", "in", "--output", "x", "--rejects_output", "./x"], "two outputs have the same name"),
        (["--input", "in", "--ids_output", "x", "--rejects_output", "in/../x"], "two outputs have the same name"),
        (["--input", "in", "--output", "link/x", "--ids_output", "in/x"], "two outputs have the same name"),
        (["--input", "in", "--output", "in/events.json"], "in/events.json is an input and an output"),
        (["--input", "in", "--ids_output", "./in/events.json"], "is an input and an output"),
        (["--input", "in", "--rejects_output", "link/events.json"], "is an input and an output"),
        (["--input", "in", "--ids_output", "-"], "only --output can be standard output"),
        (["--input", "in", "--rejects_output", "-"], "only --output can be standard output"),
        (["--input", "in", "--chart_output", "x.svg"], "--chart_output x.svg: a chart is written as .html"),
        (["--input", "missing", "--chart_output", "x"], "--chart_output x: a chart is written as .html"),
        (["--input", "in", "--chart_output", "-"], "--chart_output -: a chart is written as .html"),
        (["--input", "in", "--chart_output", "x.html.gz"], "--chart_output x.html.gz: a chart is written as .html"),
        (["--input", "in", "--chart_output", "missing/x.html"], "missing/x.html: cannot be written"),
        (["--input", "in", "--output", "x.html", "--chart_output", "x.html"], "two outputs have the same name: x.html"),
        (["--streaming", "--input", "in", "--chart_output", "x.html"], "--chart_output does not go with --streaming"),
        (["--input", "-", "--runner", "DataflowRunner"], "need a runner on this machine"),
        (["--input", "in", "--outptu", "x"], "unknown option or stray argument: --outptu: did you mean --output"),
        (["--input", "in", "--ids", "x"], "unknown option or stray argument: --ids"),
        (["--inputs", "in"], "unknown option or stray argument: --inputs: did you mean --input"),
        (["--input", "in", "--runer", "x"], "unknown option or stray argument: --runer: did you mean --runner"),
        (["in", "-x"], "unknown option or stray argument: -x"),
        (["--input", "in", "stray"], "--input stray: no such file"),
        (["--input", "in", "--direct_num_workers", "many"], "direct_num_workers"),
        (["--input", "in", "--runner", "NoSuchRunner"], "--runner NoSuchRunner: "),
        (["--input", "in", "--runner", "DataflowRunner"], "--project is missing: DataflowRunner needs it"),
        (["--input", "bad.lzma"], "compression is not supported"),
        (["--input", "nowhere://bucket/x"], "nowhere://bucket/x: no such kind of storage"),
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


def test_a_loop_of_links_as_an_output_is_found_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    os.symlink("loop", "loop")
    reason = "--ids_output loop: cannot be written: Too many levels of symbolic links"
    fails(capsys, 2, reason, "--input", "in", "--ids_output", "loop", outs=("loop",))


def test_a_message_is_one_line_whatever_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/a\nb.jsonl").write_bytes(b"x\n")
    rejected(call(capsys, "--input", "in/a\nb.jsonl"), "1 of 1", r"in/a\\x0ab.jsonl:1: not JSON")
    failed(call(capsys, "--input", "in/c\nd.jsonl"), 2, r"in/c\\x0ad.jsonl: no such file")


def test_a_failed_rename_leaves_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    every = ["--input", "in", "--ids_output", "ids.txt", "--rejects_output", "rejects.jsonl"]
    fails(capsys, 1, "No space left on device", *every)


# Processes of their own.


def text(result: Any) -> Run:
    return Run(result.returncode, result.stdout.decode(), result.stderr.decode())


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "UTC"])
def test_the_local_time_zone_does_not_matter(zone: str, tmp_path: Path) -> None:
    with open("in/events.json", "rb") as stream:
        result = text(run("--input", "-", "--output", "-", stdin=stream.read(), cwd=tmp_path, TZ=zone))
    succeeded(result, 6, report="standard output")
    assert result.out == EXAMPLE_REPORT
    assert outputs() == []


def test_wrong_usage_of_a_process(tmp_path: Path) -> None:
    failed(text(run("--input", "missing.json", cwd=tmp_path)), 2, "--input missing.json: no such file")


def test_a_broken_source_of_a_process(tmp_path: Path) -> None:
    Path("in/a.json").write_text("[1")
    failed(text(run("--input", "in/a.json", cwd=tmp_path)), 1, "in/a.json: byte 2: the array breaks off")


def test_a_pipe_as_input(tmp_path: Path) -> None:
    """As `--input <(zcat events.gz)` gives it: it can be read once only."""
    reader, writer = os.pipe()
    os.write(writer, GOOD)
    os.close(writer)
    os.set_inheritable(reader, True)
    result = run("--input", f"/dev/fd/{reader}", "--output", "-", cwd=tmp_path, pass_fds=(reader,))
    os.close(reader)
    assert text(result).out == HEADER + GOOD_ROW


def test_an_engine_that_cannot_read_in_parts_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "a.jsonl"
    source.write_bytes(line() + b"\n")
    result = call(capsys, "--input", str(source), "--runner", "BundleBasedDirectRunner")
    assert (result.status, result.out) == (2, "")
    assert result.err == "error: --runner BundleBasedDirectRunner cannot read files in parts: use FnApiRunner\n"


def test_a_bucket_without_its_extra_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with mock.patch.object(FileSystems, "get_filesystem", side_effect=ValueError("no file system")):
        result = call(capsys, "--input", "gs://bucket/a.jsonl")
    assert (result.status, result.out) == (2, "")
    assert result.err == "error: --input gs://bucket/a.jsonl: it needs `pip install 'apache-beam[gcp]'`\n"


def test_tracebacks_of_users_errors_are_not_said_twice(capsys: pytest.CaptureFixture[str]) -> None:
    stream = logs.Filtered(sys.stderr)
    for text in (
        "Traceback (most recent call last):\n  ...\npipeline.errors.RejectsError: 1 of 2 [while running 'x']\n",
        "\n",
        "Traceback (most recent call last):\n  ...\nValueError: a defect\n",
        "\n",
    ):
        stream.write(text)
    assert capsys.readouterr().err == "Traceback (most recent call last):\n  ...\nValueError: a defect\n\n"


def test_rejects_in_other_processes_end_with_one_line(tmp_path: Path) -> None:
    """Workers log before it where the gcp extra is missing: a warning at the import of Beam then sets up logging."""
    source = tmp_path / "bad.jsonl"
    source.write_bytes(b"{}\n")
    options = ("--direct_running_mode", "multi_processing", "--direct_num_workers", "2")
    result = run("--input", str(source), "--output", str(tmp_path / "r.csv"), *options)
    assert result.returncode == 1
    error, hint = result.stderr.decode().splitlines()[-2:]
    assert error.startswith("error: 1 of 1 records rejected: ")
    assert hint + "\n" == HINT


def test_s3_without_its_extra_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    for arguments in (["--input", "s3://bucket/a"], ["--input", "in", "--output", "s3://bucket/a"]):
        result = call(capsys, *arguments)
        assert (result.status, result.out) == (2, "")
        assert result.err.endswith("s3://bucket/a: it needs `pip install 'apache-beam[aws]'`\n"), result.err


@pytest.mark.parametrize("path", ["gs://bucket", "s3://bucket", "s3://bucket/"])
@pytest.mark.parametrize("option", ["--input", "--output", "--ids_output", "--rejects_output"])
def test_a_bucket_without_an_object_is_wrong_usage(path: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [option, path] if option == "--input" else ["--input", "in", option, path]
    failed(call(capsys, *arguments), 2, f"{path}: names a bucket, but no object or folder in it")


def test_a_file_whose_size_reads_as_0_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert os.path.getsize("/proc/version") == 0
    result = call(capsys, "--input", "/proc/versio?", "--input", "in", "--rejects_output", "rejects.jsonl")
    succeeded(result, 7, 6)
    assert json.loads(Path("rejects.jsonl").read_text())["raw"] == Path("/proc/version").read_text().strip()


def test_nothing_that_cannot_be_looked_at_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    os.symlink("nowhere", "in/more.json")
    reason = "--input in/more.json: cannot be looked at: its link leads to nowhere, which is not there"
    fails(capsys, 2, reason, "--input", "in")


# Names, links and compression of outputs.


def test_chart(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, "--input", "in/events.json", "--chart_output", "chart.html")
    succeeded(result, 6)
    assert result.err.endswith(": report in report.csv, chart in chart.html\n")
    page = Path("chart.html").read_text()
    assert page.count(EXAMPLE_REPORT) == 1
    assert "<title>events.json</title>" in page
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import|https?://(?!www\.w3\.org/)""", page)
    assert Path("report.csv").read_text() == EXAMPLE_REPORT


def test_the_name_of_a_chart_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/events.json").rename("in/<script>alert(1)<!--.json")
    succeeded(call(capsys, "--input", "in", "--chart_output", "chart.html"), 6)
    assert "<script>alert" not in Path("chart.html").read_text()


EVERY = ("--output", "report.csv", "--ids_output", "ids.txt", "--rejects_output", "rejects.jsonl")


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


@pytest.mark.parametrize(
    ("option", "name", "what"),
    [
        ("--output", "report.parquet", "CSV"),
        ("--output", "report.csv.bz2", "CSV"),
        ("--ids_output", "ids.json", "one id a line"),
        ("--rejects_output", "rejects.csv", "JSON Lines"),
    ],
)
def test_a_suffix_of_another_format(option: str, name: str, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys, 2, rf"{option} {name}: its name says \.\w+, but it would be {what}", "--input", "in", option, name)


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


def test_a_reject_of_a_name_that_is_not_utf_8(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/bad\udce9.jsonl").write_bytes(b"x\n")
    rejected(call(capsys, "--input", "in"), "1 of 7", r"in/bad\\xe9.jsonl:1: not JSON")


@pytest.mark.parametrize("option", ["--input", "--output", "--ids_output", "--rejects_output"])
def test_a_name_does_not_command_a_terminal(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"\x1b[31m\udce9.{'csv' if option == '--rejects_output' else 'json'}"
    Path(name).write_text("x\n")
    result = call(capsys, "--input", "in", option, name)
    assert result.status != 0
    assert "\\x1b[31m\\xe9" in result.err
    assert "\x1b" not in result.err


def test_ids_that_hold_line_breaks_or_begin_with_quotes_are_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    ids = ['"', '"a"', "a\nb", "a\r", "\\n", 'a"', "\u2028", "x"]
    Path("in/a.jsonl").write_bytes(json_lines(event(identity) for identity in ids))
    succeeded(call(capsys, "--input", "in/a.jsonl", "--ids_output", "ids.txt"), len(ids), hours=1)
    assert sorted(oracle.ids_of_lines(Path("ids.txt").read_bytes())) == sorted(ids)


@pytest.mark.parametrize("failing", ["ids.txt", "rejects.jsonl"])
def test_the_report_appears_after_all_other_outputs(
    failing: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def refuse(source: str, target: str) -> None:
        if target.endswith(failing):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("os.replace", refuse)
    Path("report.csv").write_text(EARLIER)
    result = call(capsys, "--input", "in", *EVERY)
    assert (result.status, result.err) == (
        1,
        f"error: {failing}: cannot be written: No space left on device\n",
    )
    assert Path("report.csv").read_text() == EARLIER
    assert not [name for name in outputs() if name.startswith(".")]


# Standard streams: as they are under cron, in daemons, and before `| head`.


def shell(command: str, cwd: Path) -> tuple[int, str]:
    """A command of the shell, in which `run` is the command line; its status and its stderr."""
    script = f'run() {{ "{sys.executable}" -m pipeline "$@"; }}; {command}'
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        cwd=cwd,
        env=environment,
        capture_output=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize(
    "streams", ["<&- >&- 2>&-", "<&-", ">&-", "2>&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1", "<&- 2>&-"]
)
def test_closed_and_full_streams_change_nothing(streams: str, tmp_path: Path) -> None:
    Path("bad.jsonl").write_bytes(b"x\n")
    status, said = shell(f"run --input in {' '.join(EVERY)} {streams}", tmp_path)
    assert (status, Path("report.csv").read_text()) == (0, EXAMPLE_REPORT), said
    assert re.fullmatch(r"(6 events read.*\n)?", said), said
    assert shell(f"run --input bad.jsonl {streams}", tmp_path)[0] == 1
    assert shell(f"run --input missing.jsonl {streams}", tmp_path)[0] == 2
    assert Path("report.csv").read_text() == EXAMPLE_REPORT
    assert outputs() == ["bad.jsonl", "ids.txt", "rejects.jsonl", "report.csv"]


@pytest.mark.parametrize("streams", ["2>&-", "2>/dev/full", "<&- 2>&-"])
def test_the_report_on_standard_output_alone(streams: str, tmp_path: Path) -> None:
    assert shell(f"run --input in --output - {streams} >out", tmp_path) == (0, "")
    assert Path("out").read_text() == EXAMPLE_REPORT


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("run --input in --output - >/dev/full", 1, "standard output: cannot be written: No space left on device"),
        ("run --input in --output - >/dev/full 2>&-", 1, ""),
        ("run --input in --output - >&-", 2, "standard output (-) is closed"),
        ("run --input - <&-", 2, "standard input (-) is closed"),
        ("run --input - 0>/dev/null", 1, "standard input: cannot be read into a temporary file: Bad file descriptor"),
    ],
)
def test_standard_streams_that_are_needed(command: str, status: int, said: str, tmp_path: Path) -> None:
    assert shell(command, tmp_path) == (status, f"error: {said}\n" if said else "")
    assert outputs() == []


@pytest.mark.parametrize("rest", ["--help", "--input in --output -"])
def test_a_reader_that_has_gone_is_no_error(rest: str, tmp_path: Path) -> None:
    """bash's `exec` with a pipe whose reader has ended: whatever is written breaks it."""
    Path("in/more.jsonl").write_bytes(json_lines(event(timestamp=k * 3600) for k in range(3000)))
    assert shell(f"run {rest} > >(exec <&-; sleep 0)", tmp_path)[1] == ""
    assert shell(f"run {rest} | head -1 >first", tmp_path)[0] == 0
    assert Path("first").read_text().count("\n") == 1


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, zstandard.compress])
def test_compression_of_standard_input_and_of_pipes_is_told_from_the_content(pack: Any, tmp_path: Path) -> None:
    data = pack(Path("in/events.json").read_bytes())
    assert text(run("--input", "-", "--output", "-", stdin=data, cwd=tmp_path)).out == EXAMPLE_REPORT
    assert text(run("--input", "/dev/stdin", "--output", "-", stdin=data, cwd=tmp_path)).out == EXAMPLE_REPORT


def test_parquet_under_a_name_that_says_nothing_and_from_standard_input(tmp_path: Path) -> None:
    path = ROOT / "tests" / "files" / "df.parquet.gzip"
    assert text(run("--input", str(path), "--output", "-", cwd=tmp_path)).out == EXAMPLE_REPORT
    assert text(run("--input", "-", "--output", "-", stdin=path.read_bytes(), cwd=tmp_path)).out == EXAMPLE_REPORT


def test_a_table_is_refused_with_what_it_looks_like(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/a.csv").write_text("id,event,timestamp\na,video_25,1\n")
    failed(call(capsys, "--input", "in/a.csv"), 1, "a.csv: cannot be read: it looks like CSV")


def test_an_interrupted_run_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cli.main.run_job", mock.Mock(side_effect=KeyboardInterrupt))
    fails(capsys, 130, "interrupted", "--input", "in")


@pytest.mark.parametrize("moment", ["libarrow|libnumba|cython|grpc", "input-0"])
def test_ctrl_c_at_any_moment(moment: str, tmp_path: Path) -> None:
    """While libraries are imported, and while standard input is read: no traceback, nothing left."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "-"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    await_true(lambda: re.search(moment, _in_use(process.pid)) is not None)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors in (b"", b"error: interrupted\n")
    assert outputs() == []


@pytest.mark.parametrize(("source", "moment"), [("-", "input-0"), ("in", "-lock")])
def test_sigterm_leaves_nothing(source: str, moment: str, tmp_path: Path) -> None:
    """While standard input is read, and while events are."""
    Path("in/many.jsonl").write_bytes((line() + b"\n") * 1_000_000)
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", source, "--ids_output", "ids.txt"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    await_true(lambda: process.poll() is not None or re.search(moment, _in_use(process.pid)) is not None)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (143, b"error: terminated\n")
    assert outputs() == []


def _in_use(pid: int) -> str:
    """Names of a process's libraries and open files."""
    files = []
    with contextlib.suppress(OSError):
        files = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    return Path(f"/proc/{pid}/maps").read_text() + "\n".join(files)
