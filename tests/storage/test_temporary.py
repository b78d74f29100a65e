"""Temporary files and folders of the dead are removed, those of the living are not."""

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pipeline.storage import temporary
from pipeline.storage.local import atomic_write
from pipeline.storage.outputs import check_writable
from pipeline.storage.temporary import (
    new_token,
    remove_own,
    remove_stale,
    run_lock,
    scratch_folder,
    temporary_path,
    temporary_prefix,
)
from tests.processes import await_true, kill, process, programs
from tests.support import ROOT

FILES = """
import sys, time
from pipeline.storage.local import atomic_write
from pipeline.storage.temporary import new_token, run_lock, temporary_path
token = new_token()
with run_lock([sys.argv[1]], token):
    open(temporary_path(sys.argv[1] + "/ids.txt", token), "w").close()  # as a worker leaves it to another
    with atomic_write(sys.argv[1] + "/report.csv") as stream:
        stream.write(b"half a report")
        print("ready", flush=True)
        time.sleep(600)
"""


def test_what_a_killed_process_leaves_is_removed_and_what_a_living_one_needs_is_not(tmp_path: Path) -> None:
    with process(FILES, str(tmp_path)) as living, process(FILES, str(tmp_path)) as dying:
        names = set(os.listdir(tmp_path))
        assert len(names) == 8
        remove_stale(str(tmp_path))
        assert set(os.listdir(tmp_path)) == names
        kill(dying)
        with run_lock([str(tmp_path)], new_token()):
            assert len(set(os.listdir(tmp_path)) & names) == 4
        assert len(os.listdir(tmp_path)) == 4
        kill(living)
        remove_stale(str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_a_file_of_no_run_is_safe_while_it_is_written(tmp_path: Path) -> None:
    with atomic_write(str(tmp_path / "report.csv")) as stream:
        stream.write(b"x")
        remove_stale(str(tmp_path))
    assert (tmp_path / "report.csv").read_bytes() == b"x"


def test_only_temporary_files_are_removed(tmp_path: Path) -> None:
    token = new_token()
    names = [
        f"report.{token}-{token}",
        f".report.{token}",
        f".report.{token}-{token}.bak",
        ".report.tmp",
        f".{token}-{token}",
    ]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / f".folder.{token}-{token}").mkdir()
    (tmp_path / f".link.{token}-{token}").symlink_to("report.csv")
    before = sorted(os.listdir(tmp_path))
    remove_stale(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == before


def test_where_there_are_no_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, os.strerror(37))

    monkeypatch.setattr("fcntl.flock", refuse)
    token = new_token()
    with run_lock([str(tmp_path)], token):
        Path(temporary_path(f"{tmp_path}/a", token)).touch()
        before = set(os.listdir(tmp_path))
        remove_stale(str(tmp_path))
        assert set(os.listdir(tmp_path)) == before
        with atomic_write(str(tmp_path / "report.csv")) as stream:
            stream.write(b"x")
    assert (tmp_path / "report.csv").read_bytes() == b"x"


def test_a_run_removes_its_own_files_alone(tmp_path: Path) -> None:
    token, other = new_token(), new_token()
    for name in (f".a.{token}-{'0' * 32}", f".a.{other}-{'0' * 32}", f".hourly-report.{token}-lock"):
        (tmp_path / name).touch()
    remove_own(str(tmp_path), token)
    assert sorted(os.listdir(tmp_path)) == sorted([f".a.{other}-{'0' * 32}", f".hourly-report.{token}-lock"])


def test_a_folder_that_is_missing_or_shut_is_no_error_of_the_lock(tmp_path: Path) -> None:
    with run_lock([str(tmp_path / "missing")], new_token()):
        pass


@contextmanager
def interrupted_at(number: int) -> Iterator[None]:
    """Raises KeyboardInterrupt before the given line, counted from 0, of those that temporary.py executes."""
    lines = itertools.count()

    def trace(frame: Any, event: str, _: object) -> Any:
        if frame.f_code.co_filename != temporary.__file__:
            return None
        if event == "line" and next(lines) == number:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    earlier = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(earlier)


def test_a_signal_while_the_lock_is_made_leaves_none(tmp_path: Path) -> None:
    entered = False
    for number in itertools.count():
        with suppress(KeyboardInterrupt), interrupted_at(number), run_lock([str(tmp_path)], new_token()):
            entered = True
        if entered:
            break
        assert os.listdir(tmp_path) == []
    assert number > 20


@contextmanager
def cleaned_all_the_time(folder: Path) -> Iterator[None]:
    stop = threading.Event()

    def clean() -> None:
        while not stop.is_set():
            remove_stale(str(folder))

    cleaner = threading.Thread(target=clean)
    cleaner.start()
    try:
        yield
    finally:
        stop.set()
        cleaner.join()


def test_files_made_and_removed_at_once_are_never_lost(tmp_path: Path) -> None:
    """A cleaner may take a file for a dead one's between its making and its lock: then it is made again."""
    with cleaned_all_the_time(tmp_path):
        for number in range(300):
            with atomic_write(str(tmp_path / "report.csv")) as stream:
                stream.write(b"%d" % number)
            assert (tmp_path / "report.csv").read_bytes() == b"%d" % number
    assert os.listdir(tmp_path) == ["report.csv"]


def test_an_output_can_be_written_whatever_other_runs_clean(tmp_path: Path) -> None:
    with cleaned_all_the_time(tmp_path):
        for _ in range(2000):
            check_writable(str(tmp_path / "report.csv"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "\udce9" * 255, "short"])
def test_temporary_names_are_short(name: str) -> None:
    made = os.path.basename(temporary_path(f"/nowhere/{name}", new_token()))
    assert len(os.fsencode(made)) <= 143
    assert temporary.TEMPORARY.fullmatch(made)
    assert made.startswith(temporary_prefix(name, made.split(".")[-1].split("-")[0]))


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
