"""Runs that are killed (-9) at any moment: no new report beside old ids, and the next run removes what they left."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.events import write
from tests.integration.servers import TOOLS
from tests.processes import await_true, programs
from tests.support import ROOT, json_lines

RUNS = 16
EVENTS = 300_000
OUTPUTS = ("report.csv", "ids.txt", "rejects.jsonl")
OLD, NEW = "the report before\n", "hour,"


def start(folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """A run on the inputs of a folder, with a temporary folder of its own."""
    names = ("--output", "--ids_output", "--rejects_output")
    options = [f"{option}={folder}/out/{name}" for option, name in zip(names, OUTPUTS, strict=True)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "tmp")}
    command = [sys.executable, "-m", "pipeline", "--input", f"{folder}/in", *options, *arguments]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def make(tmp_path: Path) -> Path:
    for name in ("in", "out", "tmp"):
        (tmp_path / name).mkdir()
    write(tmp_path / "in" / "events.jsonl", EVENTS)
    (tmp_path / "in" / "bad.jsonl").write_bytes(json_lines([{}]))
    return tmp_path


def reset(folder: Path) -> None:
    (folder / "out" / "report.csv").write_text(OLD)
    (folder / "out" / "ids.txt").write_text("old")
    (folder / "out" / "rejects.jsonl").write_text("old")


def left(folder: Path) -> list[str]:
    """What is there beside the outputs."""
    return [name for name in (*os.listdir(folder / "out"), *os.listdir(folder / "tmp")) if name not in OUTPUTS]


def locks(folder: Path) -> set[str]:
    """What a run makes when it begins to write."""
    return {name for name in os.listdir(folder / "out") if name.endswith("-lock")}


def start_and_await_files(folder: Path) -> "subprocess.Popen[bytes]":
    """A run that has begun to write, or has ended already."""
    before, process = locks(folder), start(folder)
    await_true(lambda: locks(folder) - before or process.poll() is not None)
    return process


def test_killed_at_any_moment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make(tmp_path)
    process, begin = start_and_await_files(folder), time.monotonic()
    assert process.wait(timeout=300) == 0
    seconds = time.monotonic() - begin
    moments = random.Random(14)
    states, most = [], 0
    for moment in (0, *(moments.uniform(0, 1.05) for _ in range(RUNS))):  # the first surely leaves something
        reset(folder)
        process = start_and_await_files(folder)
        try:
            process.wait(timeout=moment * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        is_new = [(folder / "out" / name).read_text() not in (OLD, "old") for name in OUTPUTS]
        states.append(is_new)
        assert not is_new[0] or all(is_new), "a new report beside an old output"
        assert (folder / "out" / "report.csv").read_text().startswith((OLD, NEW))
        most = max(most, len(left(folder)))
    assert start(folder).wait(timeout=300) == 0
    assert left(folder) == []
    assert most > 0
    between = sum(any(state) and not all(state) for state in states)
    with capsys.disabled():
        print(f"\n{len(states)} kills within {seconds:.1f} s: {between} between outputs, {sum(map(all, states))} after")
        print(f"at most {most} files and folders were left by one, none by the next run")


def test_prism_ends_with_its_run(tmp_path: Path) -> None:
    folder = make(tmp_path)
    prism = ("--runner=PrismRunner", f"--prism_location={TOOLS / 'prism'}")
    assert start(folder, *prism).wait(timeout=300) == 0
    assert (programs(folder / "tmp"), left(folder)) == ({}, [])
    process = start(folder, *prism)
    await_true(lambda: any("prism -job_port" in program for program in programs(folder / "tmp").values()))
    process.kill()
    process.wait()
    assert start(folder, *prism).wait(timeout=300) == 0
    assert left(folder) == []
    await_true(lambda: programs(folder / "tmp") == {})
