"""The folder of a process: removed when the process is dead, and there as long as it is needed."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.storage.temporary import new_token, scratch_folder
from tests.processes import await_true, kill, process, programs
from tests.support import ROOT

FOLDER = """
import os, subprocess, sys, tempfile, time
from pipeline.storage.temporary import scratch_folder
with scratch_folder() as folder:
    tempfile.mkdtemp()
    started = []
    for name in ("apache_beam.runners.worker.sdk_worker_main", "unrelated"):  # both with the folder in TMPDIR
        command = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(600)", name]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        started[-1].stdout.readline()
    print("ready", flush=True)
    time.sleep(600)
"""


def running(folder: Path, name: str) -> int:
    """How many programs of FOLDER's run with a temporary folder below one."""
    return sum(line.endswith(name) for line in programs(folder).values())


@pytest.fixture
def ends_programs(tmp_path: Path) -> Iterator[None]:
    yield
    for number in programs(tmp_path):
        os.kill(number, signal.SIGKILL)


@pytest.mark.usefixtures("ends_programs")
def test_the_scratch_folder_of_a_killed_process_is_removed_and_its_workers_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not so other programs that inherited the folder, of a program that runs ours in its own process."""
    others = ["hourly-report.archive", "hourly-report", f"report.{new_token()}", f"hourly-report.{new_token()}.old"]
    for name in others:
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with process(FOLDER, TMPDIR=str(tmp_path)) as living, process(FOLDER, TMPDIR=str(tmp_path)) as dying:
        kill(dying)
        assert running(tmp_path, "sdk_worker_main") == 2
        with scratch_folder() as folder:
            await_true(lambda: running(tmp_path, "sdk_worker_main") == 1)
            assert tempfile.gettempdir() == os.environ["TMPDIR"] == folder
            assert len(os.listdir(tmp_path)) == len(others) + 2
        assert tempfile.gettempdir() == str(tmp_path)
        assert len(os.listdir(tmp_path)) == len(others) + 1
        kill(living)
        with scratch_folder():
            pass
    await_true(lambda: running(tmp_path, "sdk_worker_main") == 0)
    assert running(tmp_path, "unrelated") == 2
    assert sorted(os.listdir(tmp_path)) == sorted(others)


AT_EXIT = """
import atexit, os, sys
from pipeline.storage.temporary import scratch_folder
with scratch_folder(needed_at_exit=lambda: sys.argv[1] == "needed") as folder:
    atexit.register(lambda: print(os.path.isdir(folder)))
"""


@pytest.mark.parametrize("needed", ["needed", "not"])
def test_the_scratch_folder_stays_for_what_is_called_at_exit(needed: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", AT_EXIT, needed], env=environment, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"True\n" if needed == "needed" else b"False\n", b"")
    assert os.listdir(tmp_path) == []


def test_a_temporary_folder_that_cannot_be_listed_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> list[str]:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("pipeline.storage.temporary.os.listdir", refuse)
    with scratch_folder() as folder:
        assert os.path.isdir(folder)
