"""Status codes, messages on one line, signals, and what a run that fails leaves behind."""

import contextlib
import gzip
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import support
from tests.processes import await_true
from tests.support import (
    EARLIER,
    EVERY,
    EXAMPLE_EVENTS,
    EXAMPLE_REPORT,
    GOOD,
    ROOT,
    Run,
    call,
    failed,
    fails,
    json_lines,
    line,
    outputs,
    rejected,
    run,
    succeeded,
)

pytestmark = pytest.mark.usefixtures("example_folder")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.json", json.dumps(EXAMPLE_EVENTS).encode()[:-1], "JSON array is truncated"),
        ("a.json", b"[" + GOOD + b",]", "not JSON"),
        ("a.jsonl.gz", gzip.compress(json_lines(EXAMPLE_EVENTS * 9))[:-9], "cannot be read: Compressed file ended"),
        ("a.jsonl.zst", json_lines(EXAMPLE_EVENTS), "cannot be read: "),
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
    fails(capsys, 1, "in/a.json: byte 2: JSON array is truncated", "--input", "in/a.json", *options)
    result = call(capsys, "--input", "in/b.jsonl", *options)
    rejected(result, "1 of 1", "in/b.jsonl:1: not JSON", left=("report.csv",))


def test_a_message_is_one_line_whatever_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/a\nb.jsonl").write_bytes(b"x\n")
    rejected(call(capsys, "--input", "in/a\nb.jsonl"), "1 of 1", r"in/a\\x0ab.jsonl:1: not JSON")
    failed(call(capsys, "--input", "in/c\nd.jsonl"), 2, r"in/c\\x0ad.jsonl: no such file")


def test_a_python_without_the_libraries_is_told_what_to_do(tmp_path: Path) -> None:
    """As after `make run`, in a shell where nobody has activated the environment."""
    module = "runpy.run_module('pipeline', run_name='__main__')"
    command = [sys.executable, "-I", "-S", "-c", f"import sys, runpy; sys.path.insert(0, {str(ROOT)!r}); {module}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert re.search(r"^error: this Python \(\S+\) has no \w+: activate .*`\. \.venv/bin/activate`", done.stderr)


def test_a_run_that_compiles_first_says_so_and_an_image_can_do_it_ahead(tmp_path: Path) -> None:
    Path("in/many.jsonl").write_bytes((line() + b"\n") * 200_000)
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    said = "INFO: compiling native code (once per machine)\n"
    command, environment = [sys.executable, "-m", "pipeline", "in/many.jsonl"], {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment | cache, stderr=subprocess.PIPE) as process:
        assert process.stderr
        assert process.stderr.readline().decode() == said
        process.kill()
    assert run("--compile", cwd=tmp_path, **cache) == Run(0, "", said)
    succeeded(run("in/many.jsonl", "--ids_output", "ids", cwd=tmp_path, **cache), 200_000, hours=1)


def test_a_file_that_is_mounted_by_itself_is_written_in_place(tmp_path: Path) -> None:
    Path("host.csv").write_text("earlier")
    Path("mounted.csv").touch()
    inode = Path("host.csv").stat().st_ino
    program = f"'{sys.executable}' -m pipeline in --output mounted.csv --ids_output ids.txt"
    script = f"mount --bind host.csv mounted.csv && {program} --chart_output missing/x.html; {program}"
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    errors = done.stderr.decode().splitlines()
    assert [line.split(":")[0] for line in errors[:-1]] == ["error"], errors
    assert "report in mounted.csv, ids in ids.txt" in errors[-1]
    assert (Path("host.csv").read_text(), Path("host.csv").stat().st_ino) == (EXAMPLE_REPORT, inode)
    assert outputs() == ["host.csv", "ids.txt", "mounted.csv"]


@pytest.mark.parametrize("option", ["--input", "--output", "--ids_output", "--rejects_output"])
def test_a_name_does_not_command_a_terminal(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"\x1b[31m\udce9.{'csv' if option == '--rejects_output' else 'json'}"
    Path(name).write_text("x\n")
    result = call(capsys, "--input", "in", option, name)
    assert result.status != 0
    assert "\\x1b[31m\\xe9" in result.err
    assert "\x1b" not in result.err


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


def start(folder: Path, *command: str, until: str) -> subprocess.Popen[bytes]:
    """A program with a temporary folder of its own, once it uses a library or file whose name matches."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=folder, env=environment, **pipes)
    await_true(lambda: process.poll() is not None or re.search(until, _in_use(process.pid)) is not None)
    return process


@pytest.mark.usefixtures("foreground")
def test_ctrl_c_while_libraries_are_imported(tmp_path: Path) -> None:
    """No traceback, and nothing is left."""
    process = start(tmp_path, sys.executable, "-m", "pipeline", "-", until="numpy|apache_beam")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors in (b"", b"error: interrupted\n")
    assert outputs() == []


SIGNALS = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 129, "hung up")]


@pytest.mark.usefixtures("foreground")
@pytest.mark.parametrize(("number", "status", "message"), SIGNALS)
@pytest.mark.parametrize(("source", "moment"), [("-", "input-0"), ("in", "-lock"), ("in", r"\.ids\.txt\.")])
def test_a_signal_leaves_nothing(
    number: int, status: int, message: str, source: str, moment: str, tmp_path: Path
) -> None:
    """While standard input is read, while events are, and while ids are written, where Beam wraps what is raised."""
    event = line("%x-ace6-4852-a32f") + b"\n"
    with open("in/many.jsonl", "wb") as file:
        file.writelines(event % k for k in range(300_000))
    command = [sys.executable, "-m", "pipeline", source, "--ids_output", "ids.txt"]
    process = start(tmp_path, *command, until=moment)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.decode()) == (status, f"error: {message}\n")
    assert outputs() == []


@pytest.mark.parametrize("name", ["INT", "HUP"])
def test_a_signal_that_is_ignored_stays_so(name: str, tmp_path: Path) -> None:
    """As under nohup, and in a background job of a shell."""
    script = f"trap '' {name}; exec '{sys.executable}' -m pipeline -"
    process = start(tmp_path, "sh", "-c", script, until="input-0")
    process.send_signal(getattr(signal, f"SIG{name}"))
    _, errors = process.communicate(line() + b"\n", timeout=60)
    assert (process.returncode, outputs()) == (0, ["report.csv"]), errors


def _in_use(pid: int) -> str:
    """Names of a process's libraries and open files."""
    files = []
    with contextlib.suppress(OSError):
        files = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    return Path(f"/proc/{pid}/maps").read_text() + "\n".join(files)


def test_a_thread_that_never_ends_does_not_hold_a_program_that_a_signal_ended(tmp_path: Path) -> None:
    code = (
        "import sys, threading\n"
        "from pipeline.cli.main import run_program\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "sys.argv = ['', '-']\n"
        "sys.exit(run_program())\n"
    )
    process = start(tmp_path, sys.executable, "-c", code, until="input-0")
    process.send_signal(signal.SIGTERM)
    assert (process.communicate(timeout=30)[1], process.returncode) == (b"error: terminated\n", 143)
