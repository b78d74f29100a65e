"""Temporary files of the dead are removed, those of the living are not."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.storage import locks, temporary
from pipeline.storage.files import InputFile
from pipeline.storage.local import new_file, temporary_path
from pipeline.storage.locks import held, new_token, prefix, remove_dead, remove_of
from pipeline.storage.scratch import scratch_folder
from pipeline.storage.temporary import LONGEST_RUN_SECONDS
from pipeline.storage.writable import check_writable
from tests.serving_support import await_true
from tests.support import ROOT

FILES = """
import sys, time
from pipeline.storage.local import new_file, temporary_path
from pipeline.storage.locks import held, new_token
token = new_token()
with held([sys.argv[1]], token):
    open(temporary_path(sys.argv[1] + "/ids.txt", token), "w").close()  # as a worker leaves it to another
    with new_file(sys.argv[1] + "/report.csv") as stream:
        stream.write(b"half a report")
        print("ready", flush=True)
        time.sleep(600)
"""

FOLDER = """
import os, subprocess, sys, tempfile, time
from pipeline.storage.scratch import scratch_folder
with scratch_folder() as folder:
    tempfile.mkdtemp()
    subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL)
    print("ready", flush=True)
    time.sleep(600)
"""


@contextmanager
def process(script: str, *arguments: str, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that has come to its rest."""
    command = [sys.executable, "-c", script, *arguments]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=variables) as started:
        try:
            assert started.stdout
            assert started.stdout.readline() == b"ready\n"
            yield started
        finally:
            started.kill()


def kill(started: "subprocess.Popen[bytes]") -> None:
    started.send_signal(signal.SIGKILL)
    started.wait()


def test_what_a_killed_process_leaves_is_removed_and_what_a_living_one_needs_is_not(tmp_path: Path) -> None:
    with process(FILES, str(tmp_path)) as living, process(FILES, str(tmp_path)) as dying:
        names = set(os.listdir(tmp_path))
        assert len(names) == 6
        remove_dead(str(tmp_path))
        assert set(os.listdir(tmp_path)) == names
        kill(dying)
        with held([str(tmp_path)], new_token()):
            assert len(set(os.listdir(tmp_path)) & names) == 3
        assert len(os.listdir(tmp_path)) == 3
        kill(living)
        remove_dead(str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_a_file_of_no_run_is_safe_while_it_is_written(tmp_path: Path) -> None:
    with new_file(str(tmp_path / "report.csv")) as stream:
        stream.write(b"x")
        remove_dead(str(tmp_path))
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
    remove_dead(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == before


def test_where_there_are_no_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, os.strerror(37))

    monkeypatch.setattr("fcntl.flock", refuse)
    token = new_token()
    with held([str(tmp_path)], token):
        Path(temporary_path(f"{tmp_path}/a", token)).touch()
        before = set(os.listdir(tmp_path))
        remove_dead(str(tmp_path))
        assert set(os.listdir(tmp_path)) == before
        with new_file(str(tmp_path / "report.csv")) as stream:
            stream.write(b"x")
    assert (tmp_path / "report.csv").read_bytes() == b"x"


def test_a_run_removes_its_own_files_alone(tmp_path: Path) -> None:
    token, other = new_token(), new_token()
    for name in (f".a.{token}-{'0' * 32}", f".a.{other}-{'0' * 32}", f".hourly-report.{token}-lock"):
        (tmp_path / name).touch()
    remove_of(str(tmp_path), token)
    assert sorted(os.listdir(tmp_path)) == sorted([f".a.{other}-{'0' * 32}", f".hourly-report.{token}-lock"])


def test_a_folder_that_is_missing_or_shut_is_no_error_of_the_lock(tmp_path: Path) -> None:
    with held([str(tmp_path / "missing")], new_token()):
        pass


@contextmanager
def cleaned_all_the_time(folder: Path) -> Iterator[None]:
    stop = threading.Event()

    def clean() -> None:
        while not stop.is_set():
            remove_dead(str(folder))

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
            with new_file(str(tmp_path / "report.csv")) as stream:
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
    assert locks.TEMPORARY.fullmatch(made)
    assert made.startswith(prefix(name, made.split(".")[-1].split("-")[0]))


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
        assert programs(tmp_path) == 2
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


def test_in_a_bucket_what_no_run_can_need_any_more_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    token, now = new_token(), int(time.time())
    names = {
        f".r.csv.{token}-{'0' * 32}": now - LONGEST_RUN_SECONDS - 60,
        f".r.csv.{token}-{'1' * 32}": now - LONGEST_RUN_SECONDS + 60,
        f".r.csv.{token}-{'2' * 32}": 0,  # nobody knows
        f".other.csv.{token}-{'0' * 32}": 1,
        ".r.csv.bak": 1,
        "r.csv": 1,
    }
    objects = [InputFile(f"gs://bucket/out/{name}", 0, name, modified) for name, modified in names.items()]
    removed: list[str] = []
    monkeypatch.setattr(temporary, "list_objects", lambda prefix: [o for o in objects if o.path.startswith(prefix)])
    monkeypatch.setattr(temporary, "delete_file", removed.append)
    with temporary.held(["gs://bucket/out/r.csv"], new_token()):
        pass
    assert removed == [objects[0].path]
    with temporary.held_folders(["gs://bucket/out/"], new_token()):
        pass
    assert removed == [objects[k].path for k in (0, 0, 3)]


def test_a_bucket_that_cannot_be_listed_is_not_the_business_of_locks() -> None:
    with temporary.held(["nowhere://bucket/r.csv"], new_token()):
        pass
    with temporary.held_folders(["nowhere://bucket/r"], new_token()):
        pass
