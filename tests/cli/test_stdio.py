"""Standard streams that the process before has left so that reads and writes do not wait."""

import bz2
import contextlib
import gzip
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import zstandard

from pipeline.cli.stdio import StagedOutputs, spool
from tests.processes import await_true
from tests.support import (
    EVERY,
    EXAMPLE_EVENTS,
    EXAMPLE_REPORT,
    GOOD,
    GOOD_ROW,
    HEADER,
    ROOT,
    call,
    event,
    json_lines,
    outputs,
    rejected,
    run,
    succeeded,
)

pytestmark = pytest.mark.usefixtures("example_folder")


@pytest.fixture
def pipe() -> tuple[int, int]:
    """The ends of a pipe, neither of which waits."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


def in_thread(work: object, *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_nothing_there_yet_is_no_end(pipe: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, writer = pipe
    with open(source, "rb") as stream:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
        reading = in_thread(spool, "-", str(tmp_path), 0)
        await_true(lambda: os.get_blocking(source))
        for piece in (b"one", b"two", b"three"):
            os.write(writer, piece)
        os.close(writer)
        reading.join(timeout=60)
    assert (tmp_path / "input-0").read_bytes() == b"onetwothree"


def test_no_room_yet_is_no_error(pipe: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, target = pipe
    report = os.urandom(3_000_000)
    with open(target, "wb") as stream:
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=stream))
        outputs = StagedOutputs({"output": "-"}, str(tmp_path))
        Path(outputs.paths["output"]).write_bytes(report)
        writing = in_thread(outputs.deliver)
        received = bytearray()

        def receive() -> bool:
            with contextlib.suppress(BlockingIOError):
                received.extend(os.read(reader, 1 << 20))
            return not writing.is_alive() and len(received) == len(report)

        await_true(receive)
    os.close(reader)
    assert received == report


def test_a_reject_from_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("in/bad.jsonl").write_bytes(GOOD + b"\nx\n")
    with open("in/bad.jsonl", "rb") as stream:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
        rejected(call(capsys, "--input", "-"), "1 of 2", "standard input:2: not JSON")


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


def test_a_pipe_as_input(tmp_path: Path) -> None:
    """It can be read once only."""
    Path("good").write_bytes(GOOD)
    assert shell("run --input <(cat good) --output report.csv", tmp_path)[0] == 0
    assert Path("report.csv").read_text() == HEADER + GOOD_ROW


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


EXAMPLES = (ROOT / "examples" / "events.json").read_bytes()
PARQUET = (ROOT / "tests" / "files" / "df.parquet.gzip").read_bytes()


@pytest.mark.parametrize(
    "data", [gzip.compress(EXAMPLES), bz2.compress(EXAMPLES), zstandard.compress(EXAMPLES), PARQUET]
)
def test_the_form_of_standard_input_and_of_pipes_is_told_from_the_content(data: bytes, tmp_path: Path) -> None:
    assert run("--input", "-", "--output", "-", stdin=data, cwd=tmp_path).out == EXAMPLE_REPORT
    assert run("--input", "/dev/stdin", "--output", "-", stdin=data, cwd=tmp_path).out == EXAMPLE_REPORT


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_other_names_of_standard_output(name: str, tmp_path: Path) -> None:
    os.symlink("/dev/stdout", "link")
    result = run("in", "-o", name, cwd=tmp_path)
    succeeded(result, 6, report="standard output")
    assert result.out == EXAMPLE_REPORT


@pytest.mark.parametrize(("redirection", "before"), [(">file", ""), (">>file", "earlier\n")])
def test_a_redirected_file_is_not_replaced_under_the_shell(redirection: str, before: str, tmp_path: Path) -> None:
    Path("file").write_text("earlier\n")
    inode = Path("file").stat().st_ino
    for name in ("/dev/stdout", "-"):
        Path("file").write_text("earlier\n")
        status, said = shell(f"{{ run in --output {name}; echo end; }} {redirection}", tmp_path)
        assert (status, Path("file").read_text()) == (0, f"{before}{EXAMPLE_REPORT}end\n"), said
    assert Path("file").stat().st_ino == inode


def test_other_descriptors_and_pipes_of_the_shell_are_written_to(tmp_path: Path) -> None:
    outputs = "--output >(gzip >r.gz) --ids_output >(sort >ids) --rejects_output /dev/fd/7 7>rejects"
    status, said = shell(f"echo x >bad.jsonl; run in bad.jsonl {outputs}; wait", tmp_path)
    assert (status, "7 events read, 6 counted" in said) == (0, True), said
    await_true(lambda: Path("r.gz").exists() and Path("r.gz").stat().st_size > 0 and Path("ids").stat().st_size > 0)
    assert gzip.decompress(Path("r.gz").read_bytes()).decode() == EXAMPLE_REPORT
    assert Path("ids").read_text().split() == sorted(item["id"] for item in EXAMPLE_EVENTS)
    assert json.loads(Path("rejects").read_text())["source"] == "bad.jsonl"


def test_a_named_pipe_with_a_reader_and_a_device(tmp_path: Path) -> None:
    os.mkfifo("pipe")
    assert shell("cat pipe >out & run in --output pipe && wait", tmp_path)[0] == 0
    assert Path("out").read_text() == EXAMPLE_REPORT
    assert Path("pipe").is_fifo()
    assert shell("run in --output /dev/null --ids_output ids.txt", tmp_path)[0] == 0
    assert Path("/dev/null").is_char_device()


def test_the_report_is_written_although_the_reader_of_the_ids_has_gone(tmp_path: Path) -> None:
    Path("in/more.jsonl").write_bytes(json_lines(event(f"id {k}" * 9) for k in range(30_000)))
    status, said = shell("run in --output report.csv --ids_output >(exec <&-; sleep 0)", tmp_path)
    assert (status, Path("report.csv").exists()) == (0, True), said


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("--ids_output /dev/stdout", "only --output can be standard output"),
        ("--output /dev/stdout --rejects_output -", "two outputs have the same name"),
        ("--output /dev/fd/9", "--output /dev/fd/9: cannot be written: Bad file descriptor"),
        ("--output /dev/fd/0 </dev/null", "--output /dev/fd/0: cannot be written: open for reading only"),
        ("--output pipe", "--output pipe: cannot be written: named pipe without a reader"),
        ("--output /dev/stdout --runner DataflowRunner", "need a local runner"),
    ],
)
def test_streams_that_cannot_be_written(arguments: str, reason: str, tmp_path: Path) -> None:
    os.mkfifo("pipe")
    status, said = shell(f"run in {arguments}", tmp_path)
    assert (status, reason in said, said.count("\n")) == (2, True, 1), said
    assert outputs() == ["pipe"]
