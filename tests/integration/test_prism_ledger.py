"""Streams that are stopped, changed and started again on Prism: each file counts once, whatever happens meanwhile."""

import contextlib
import gzip
import json
import os
import re
import select
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from bench.processes import children
from pipeline.stream.database import NAME
from tests.integration.prism_streams import PRISM, reported, stop, stream_process, until
from tests.support import event, json_lines

EVENTS = 1000


def lines(number: int, events: int = EVENTS) -> bytes:
    return json_lines(event(f"{number}-{k}", "video_25", 1617393003) for k in range(events))


def watching(
    folder: Path, *more: str, pattern: str = "", cwd: Path | None = None
) -> contextlib.AbstractContextManager["subprocess.Popen[str]"]:
    (folder / "in").mkdir(exist_ok=True)
    outputs = [f"--output={folder}/out", f"--rejects_output={folder}/bad", "--early_firing_seconds=1"]
    return stream_process(f"--input={pattern or folder / 'in'}", *outputs, PRISM, *more, cwd=cwd)


def run(folder: Path, events: int, *more: str, **options: object) -> str:
    """Runs a stream until it has reported so many events; what it has said."""
    with watching(folder, *more, **options) as process:  # type: ignore[arg-type]
        until(lambda: reported(folder / "out") == events and bool(children(process.pid)), process)
        return stop(process)


def test_a_folder_is_one_under_all_its_spellings(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(lines(0))
    (tmp_path / "link").symlink_to("in")
    assert f"{EVENTS} events read" in run(tmp_path, EVENTS)
    for pattern in (f"{tmp_path}/link/*", f"{tmp_path}/./in/../in/*.jsonl"):
        said = run(tmp_path, EVENTS, pattern=pattern)
        assert said.splitlines()[-1].startswith(f"{EVENTS} events read, {EVENTS} counted"), said


@pytest.mark.parametrize("change", ["appended", "replaced", "touched"])
@pytest.mark.parametrize("while_running", [True, False], ids=["while it runs", "between two runs"])
def test_a_counted_file_that_changes_is_told_and_not_counted_again(
    change: str, while_running: bool, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.jsonl"
    path.write_bytes(lines(0))

    def apply() -> None:
        if change == "touched":
            os.utime(path, (1, 1))
        else:
            path.write_bytes((lines(0) if change == "appended" else b"") + lines(1, 3 * EVENTS))

    with watching(tmp_path) as process:
        until(lambda: reported(tmp_path / "out") == EVENTS, process)
        if while_running:
            apply()
        (tmp_path / "in" / "b.jsonl").write_bytes(lines(2))
        until(lambda: reported(tmp_path / "out") == 2 * EVENTS, process)
        said = stop(process)
    if not while_running:
        apply()
        said = run(tmp_path, 2 * EVENTS)
    assert said.count(f"{path}: changed after it was read; the new content is ignored") == 1, said
    assert f"{2 * EVENTS} events read, {2 * EVENTS} counted, 0 rejected" in said


def test_files_of_some_blocks(tmp_path: Path) -> None:
    """Those of 4 to 14 MiB were taken for incomplete: their last block had the name of the first one."""
    (tmp_path / "in").mkdir()
    count = 0
    for mebibytes in (1, 5, 9, 13, 70):
        data = lines(0, mebibytes * 2**20 // len(lines(0, 10)) * 10)
        array = b"[" + data.strip().replace(b"\n", b",") + b"]"
        for name, content in (("jsonl", data), ("json", array), ("jsonl.gz", gzip.compress(data, 1))):
            (tmp_path / "in" / f"{mebibytes}.{name}").write_bytes(content)
            count += data.count(b"\n")
    for _ in range(2):
        said = run(tmp_path, count)
        assert f"{count} events read, {count} counted, 0 rejected" in said, said


def test_a_file_that_cannot_be_read_for_a_while_is_read_then(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    link = tmp_path / "in" / "a.jsonl"
    link.symlink_to("a.jsonl")
    path = tmp_path / "in" / "b.jsonl"
    path.write_bytes(lines(0))
    broken = tmp_path / "in" / "c.jsonl.gz"
    broken.write_bytes(b"no gzip")
    path.chmod(0)
    with watching(tmp_path) as process:
        until(lambda: any((tmp_path / "bad").glob("*.jsonl")), process)
        assert reported(tmp_path / "out") == (0 if os.getuid() else EVENTS)  # root reads it
        path.chmod(0o644)
        link.unlink()
        link.write_bytes(lines(1))
        until(lambda: reported(tmp_path / "out") == 2 * EVENTS, process)
        said = stop(process)
    assert f"{2 * EVENTS + 1} events read, {2 * EVENTS} counted, 1 rejected" in said, said
    assert said.count("retrying") == (2 if os.getuid() else 1), said


def test_a_folder_that_is_gone_for_a_while_is_told(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(lines(0))
    with watching(tmp_path) as process:
        until(lambda: reported(tmp_path / "out") == EVENTS, process)
        (tmp_path / "in").rename(tmp_path / "away")
        (tmp_path / "out" / "2021-04-02T20+0100.csv").unlink()
        assert process.stderr
        line = next(line for line in process.stderr if "folder no longer exists" in line)
        assert line == f"WARNING: {tmp_path}/in: folder no longer exists; retrying\n"
        (tmp_path / "away").rename(tmp_path / "in")
        (tmp_path / "in" / "b.jsonl").write_bytes(lines(1))
        until(lambda: reported(tmp_path / "out") == 2 * EVENTS, process)
        assert f"{2 * EVENTS} events read" in stop(process)


def test_a_slow_writer_with_a_clock_that_is_behind(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path, data = tmp_path / "in" / "a.jsonl", lines(0)
    (tmp_path / "in" / "empty.jsonl").touch()
    with watching(tmp_path) as process:
        for end in range(0, len(data) + 1, len(data) // 20):
            path.write_bytes(data[:end])
            os.utime(path, (1617393003, 1617393003 + end % 7))
            time.sleep(0.3)  # what a slow writer does
        path.write_bytes(data)
        until(lambda: reported(tmp_path / "out") == EVENTS, process)
        (tmp_path / "in" / "empty.jsonl").write_bytes(lines(1))
        until(lambda: reported(tmp_path / "out") == 2 * EVENTS, process)
        assert f"{2 * EVENTS} events read" in stop(process)


def test_reports_are_not_written_over_without_their_ledger(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(lines(0))
    run(tmp_path, EVENTS)
    (tmp_path / "in" / "a.jsonl").rename(tmp_path / "in" / "b.jsonl")
    (tmp_path / "in" / "b.jsonl").write_bytes(lines(0, 3))
    (tmp_path / "out" / NAME).unlink()
    with watching(tmp_path) as process:
        said = process.communicate(timeout=120)[1]
    assert (process.returncode, reported(tmp_path / "out")) == (2, EVENTS)
    assert "use --overwrite to start from nothing" in said
    assert "3 events read, 3 counted" in run(tmp_path, 3, "--overwrite")


def test_a_ledger_that_is_deleted_ends_the_stream(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(lines(0))
    with watching(tmp_path) as process:
        until(lambda: reported(tmp_path / "out") == EVENTS, process)
        (tmp_path / "out" / NAME).unlink()
        (tmp_path / "in" / "b.jsonl").write_bytes(lines(1))
        said = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert said.splitlines()[-1].startswith(f"error: {tmp_path}/out/{NAME}: removed or replaced"), said
    assert "Traceback" not in said


def test_a_ledger_that_is_locked_is_told_and_waited_for(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(lines(0))
    with watching(tmp_path) as process:
        until(lambda: reported(tmp_path / "out") == EVENTS, process)
        with contextlib.closing(sqlite3.connect(tmp_path / "out" / NAME, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            (tmp_path / "in" / "b.jsonl").write_bytes(lines(1))
            assert process.stderr
            line = next(line for line in process.stderr if "locked by" in line)
            assert line == f"WARNING: {tmp_path}/out/{NAME}: locked by another program; waiting\n"
        until(lambda: reported(tmp_path / "out") == 2 * EVENTS, process)
        stop(process)


def test_a_prism_that_is_killed_is_one_line(tmp_path: Path) -> None:
    with watching(tmp_path) as process:
        (tmp_path / "in" / "a.jsonl").write_bytes(lines(0))
        until(lambda: reported(tmp_path / "out") == EVENTS, process)
        (prism,) = children(process.pid)
        os.kill(prism, signal.SIGKILL)
        said = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    last = "error: Prism, Beam's local runner, was killed by signal 9: the next start resumes"
    assert said.splitlines()[1:] == [last], said


def test_prism_ends_with_its_client(tmp_path: Path) -> None:
    with watching(tmp_path) as process:
        until(lambda: bool(children(process.pid)), process)
        (prism,) = children(process.pid)
        descriptor = os.pidfd_open(prism)
        process.kill()
        process.wait()
        assert select.select([descriptor], [], [], 60)[0] == [descriptor]
        os.close(descriptor)


def test_no_port_is_reachable_from_elsewhere(tmp_path: Path) -> None:
    """In a network of its own there is loopback alone; without one, a warning says so."""
    with watching(tmp_path) as process:
        (tmp_path / "in" / "a.jsonl").write_bytes(lines(0))
        until(lambda: reported(tmp_path / "out") == EVENTS, process)
        ours = os.readlink("/proc/self/ns/net")
        for member in (process.pid, *children(process.pid)):
            assert os.readlink(f"/proc/{member}/ns/net") != ours
            devices = Path(f"/proc/{member}/net/dev").read_text()
            assert re.findall(r"^ *(\w+):", devices, re.MULTILINE) == ["lo"]
        assert json.dumps(stop(process)).count("warning") == 0
