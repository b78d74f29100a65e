"""Temporary files and folders of runs on this machine, and the locks that protect them. No Beam.

A run holds a lock file in each folder that it writes to, and a lock on its scratch folder. The kernel releases them
when the process ends, however that happens: what belongs to a lock that nobody holds was left by a killed run, and the
next run removes it.
"""

import atexit
import contextlib
import fcntl
import functools
import os
import re
import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

TEMPORARY = re.compile(r"\..*\.([0-9a-f]{32})-(?:[0-9a-f]{32}|lock)", re.DOTALL)
_SCRATCH = re.compile(r"hourly-report\.[0-9a-f]{32}")
_LONGEST = 60  # bytes of a name: some encrypted file systems have room for 143 in all
_WORKER = b"apache_beam.runners.worker.sdk_worker_main"


def new_token() -> str:
    """Returns a token that names a run."""
    return uuid.uuid4().hex


def temporary_prefix(name: str, token: str) -> str:
    """Returns what the hidden names of a run's temporary files for an output begin with."""
    while len(os.fsencode(name)) > _LONGEST:
        name = name[:-1]
    return f".{name}.{token}-"


def temporary_path(path: str, token: str) -> str:
    """Returns a new hidden path beside the file that path leads to, with a short name. token: the run's."""
    folder, name = os.path.split(os.path.realpath(path))
    return os.path.join(folder, temporary_prefix(name, token) + uuid.uuid4().hex)


def open_private(path: str) -> BinaryIO:
    """Creates a file that only this user can read, for what an output may keep private."""
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


@contextlib.contextmanager
def run_lock(folders: Iterable[str], token: str, keep: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Protects a run's temporary files in folders of this machine while the block runs, and removes them at its end.

    First removes those that killed runs left there.

    Args:
      folders: of the outputs.
      token: names the run.
      keep: whether the files are still needed at the end, by a job that is running elsewhere.
    """
    folders = sorted({os.path.realpath(folder) for folder in folders})
    descriptors: list[int] = []
    try:
        for folder in folders:
            with contextlib.suppress(OSError):  # where no lock can be made no output can be: its writing says so
                remove_dead(folder)
                descriptors.append(_create_lock(_lock_path(folder, token)))
        yield
    finally:
        for folder in folders:  # also where a signal came before the new lock was in the list
            with contextlib.suppress(OSError):
                if not keep():
                    remove_temporary(folder, token)
                os.remove(_lock_path(folder, token))
        for descriptor in descriptors:
            os.close(descriptor)


def remove_dead(folder: str) -> None:
    """Removes the temporary files that killed runs have left in a folder.

    Raises:
      OSError: the folder cannot be listed.
    """
    for name in os.listdir(folder):
        found = TEMPORARY.fullmatch(name)
        if found and name.endswith("-lock"):
            with _if_unlocked(os.path.join(folder, name)) as is_dead:
                if is_dead:
                    remove_temporary(folder, found.group(1))
                    os.remove(os.path.join(folder, name))


def remove_temporary(folder: str, token: str) -> None:
    """Removes a run's temporary files, but not its lock; OSError where that fails."""
    for name in os.listdir(folder):
        found = TEMPORARY.fullmatch(name)
        if found and found.group(1) == token and not name.endswith("-lock"):
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(folder, name))


def _lock_path(folder: str, token: str) -> str:
    return os.path.join(folder, f".hourly-report.{token}-lock")


def _create_lock(path: str) -> int:
    """Creates a lock file that only this user can open, and returns its locked descriptor."""
    while True:
        descriptor = _lock_new(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        if descriptor is not None:
            return descriptor


def _lock_new(path: str, flags: int) -> int | None:
    """Opens and locks a new file or folder; None if another run took it for a killed one's before it was locked."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    if _is_at(path, descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _is_at(path: str, descriptor: int) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:
        return False


@contextlib.contextmanager
def _if_unlocked(path: str) -> Iterator[bool]:
    """Locks a file or folder while the block runs; yields False if another process holds the lock, or it cannot."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = _is_at(path, descriptor)
        except OSError:
            is_ours = False
        yield is_ours
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def scratch_folder(needed_at_exit: Callable[[], bool] = lambda: False) -> Iterator[str]:
    """A new private folder for the temporary files of this process and of those that it starts, while the block runs.

    The next run removes it where this one is killed, with what the runner left there. The lock is on the folder
    itself, which systemd's cleaner of temporary folders respects.

    Args:
      needed_at_exit: whether the folder must stay until the interpreter has called what the block registered for it.

    Raises:
      OSError: the folder cannot be made.
    """
    parent = tempfile.gettempdir()
    with contextlib.suppress(OSError):  # it may be written to, but not listed
        _remove_dead_scratch(parent)
    descriptor, folder = _make_scratch(parent)
    remove = functools.partial(_remove_scratch, descriptor, folder)
    atexit.register(remove)  # the last registered is called first
    before, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    try:
        yield folder
    finally:
        tempfile.tempdir = before
        os.environ.pop("TMPDIR")
        if variable is not None:
            os.environ["TMPDIR"] = variable
        if not needed_at_exit():
            atexit.unregister(remove)
            remove()


def _make_scratch(parent: str) -> tuple[int, str]:
    while True:
        folder = os.path.join(parent, f"hourly-report.{new_token()}")
        os.mkdir(folder, 0o700)
        with contextlib.suppress(FileNotFoundError):  # another run took it for a killed one's
            descriptor = _lock_new(folder, os.O_RDONLY | os.O_DIRECTORY)
            if descriptor is not None:
                return descriptor, folder


def _remove_scratch(descriptor: int, folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(descriptor)


def _remove_dead_scratch(parent: str) -> None:
    """Removes this user's folders of runs that were killed, and ends the workers that Beam had started for these."""
    for name in filter(_SCRATCH.fullmatch, os.listdir(parent)):
        folder = os.path.join(parent, name)
        with contextlib.suppress(OSError):
            if os.lstat(folder).st_uid == os.geteuid():
                with _if_unlocked(folder) as is_dead:
                    if is_dead:
                        _end_workers(folder)
                        shutil.rmtree(folder, ignore_errors=True)


def _end_workers(folder: str) -> None:
    """Kills Beam's worker processes with this temporary folder, which wait for their run for ever.

    Other programs inherit the folder too, from a host program that calls this one: they are left alone.
    """
    variable = b"TMPDIR=" + os.fsencode(folder)
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_worker = _WORKER in (process / "cmdline").read_bytes()
            if is_worker and variable in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
