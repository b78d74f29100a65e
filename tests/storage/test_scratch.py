"""The folder of a process: removed when the process is dead, and there as long as it is needed."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.storage.locks import new_token
from pipeline.storage.scratch import scratch_folder
from tests.processes_support import kill, process
from tests.serving_support import await_true
from tests.support import ROOT

FOLDER = """
import os, subprocess, sys, tempfile, time
from pipeline.storage.scratch import scratch_folder
with scratch_folder() as folder:
    tempfile.mkdtemp()
    subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL)
    print("ready", flush=True)
    time.sleep(600)
"""


def programs(folder: Path) -> int:
    """How many processes have their temporary folder below one."""
    variables = (Path("/proc", name, "environ") for name in os.listdir("/proc") if name.isdigit())
    return sum(f"TMPDIR={folder}/".encode() in read_or_nothing(path) for path in variables)


def read_or_nothing(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_the_scratch_folder_of_a_killed_process_is_removed_and_its_programs_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = ["hourly-report.archive", "hourly-report", f"report.{new_token()}", f"hourly-report.{new_token()}.old"]
    for name in others:
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with process(FOLDER, TMPDIR=str(tmp_path)) as living, process(FOLDER, TMPDIR=str(tmp_path)) as dying:
        kill(dying)
        await_true(lambda: programs(tmp_path) == 2)  # one that has just started shows no variables yet
        with scratch_folder() as folder:
            await_true(lambda: programs(tmp_path) == 1)
            assert tempfile.gettempdir() == os.environ["TMPDIR"] == folder
            assert len(os.listdir(tmp_path)) == len(others) + 2
        assert tempfile.gettempdir() == str(tmp_path)
        assert len(os.listdir(tmp_path)) == len(others) + 1
        kill(living)
        with scratch_folder():
            pass
    await_true(lambda: programs(tmp_path) == 0)
    assert sorted(os.listdir(tmp_path)) == sorted(others)


AT_EXIT = """
import atexit, os, sys
from pipeline.storage.scratch import scratch_folder
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
    monkeypatch.setattr("pipeline.storage.scratch.os.listdir", refuse)
    with scratch_folder() as folder:
        assert os.path.isdir(folder)
