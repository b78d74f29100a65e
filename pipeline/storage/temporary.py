"""Local temporary files and folders of runs, and the locks that protect them. Does not depend on Beam.

A run locks a file in each folder that it writes to, and its scratch folder. The kernel releases locks when the process
ends, however it ends, so files of an unlocked run are stale, and the next run removes them.
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
_MAX_NAME_BYTES = 60  # some encrypted file systems limit whole names to 143
_WORKER = b"apache_beam.runners.worker.sdk_worker_main"


def new_token() -> str:
    """Returns a token that identifies a run."""
    return uuid.uuid4().hex


def temporary_prefix(name: str, token: str) -> str:
    """Returns the prefix of a run's hidden temporary files for an output, whose name is cut to 60 bytes."""
    while len(os.fsencode(name)) > _MAX_NAME_BYTES:
        name = name[:-1]
    return f".{name}.{token}-"


def temporary_path(path: str, token: str) -> str:
    """Returns a new hidden path beside the real path of an output. token: the run's."""
    folder, name = os.path.split(os.path.realpath(path))
    return os.path.join(folder, temporary_prefix(name, token) + uuid.uuid4().hex)


def open_private(path: str) -> BinaryIO:
    """Creates a file that only this user can read, since the output may be private."""
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


@contextlib.contextmanager
def run_lock(folders: Iterable[str], token: str) -> Iterator[None]:
    """Locks a run's temporary files in local folders, and removes them at the end; first removes stale ones.

    Folders that cannot be locked are skipped: writing there fails later with its own error.
    """
    folders = sorted({os.path.realpath(folder) for folder in folders})
    descriptors: list[int] = []
    try:
        for folder in folders:
            with contextlib.suppress(OSError):
                remove_stale(folder)
                descriptors.append(_create_lock(_lock_path(folder, token)))
        yield
    finally:
        for folder in folders:  # all, since a signal may interrupt the loop above
            with contextlib.suppress(OSError):
                remove_own(folder, token)
                os.remove(_lock_path(folder, token))
        for descriptor in descriptors:
            os.close(descriptor)


def remove_stale(folder: str) -> None:
    """Removes the temporary files of killed runs from a folder.

    Raises:
      OSError: the folder cannot be listed.
    """
    for name in os.listdir(folder):
        found = TEMPORARY.fullmatch(name)
        if found and name.endswith("-lock"):
            with _if_unlocked(os.path.join(folder, name)) as is_stale:
                if is_stale:
                    remove_own(folder, found.group(1))
                    os.remove(os.path.join(folder, name))


def remove_own(folder: str, token: str) -> None:
    """Removes a run's temporary files except its lock; raises OSError."""
    for name in os.listdir(folder):
        found = TEMPORARY.fullmatch(name)
        if found and found.group(1) == token and not name.endswith("-lock"):
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(folder, name))


def _lock_path(folder: str, token: str) -> str:
    return os.path.join(folder, f".hourly-report.{token}-lock")


def _create_lock(path: str) -> int:
    """Creates a private lock file, and returns its locked descriptor."""
    while True:
        descriptor = _lock_new(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        if descriptor is not None:
            return descriptor


def _lock_new(path: str, flags: int) -> int | None:
    """Opens and locks a new file or folder; None if another run's cleanup removed it before it was locked."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    if _is_at(path, descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _is_at(path: str, descriptor: int) -> bool:
    """Whether a path still names an open file."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:
        return False


@contextlib.contextmanager
def _if_unlocked(path: str) -> Iterator[bool]:
    """Yields True while it holds the lock of a file or folder; False if that is locked or inaccessible."""
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
    """Creates a private folder for temporary files, and makes it TMPDIR of this process and its children.

    If this run is killed, the next one removes the folder. The folder itself is locked, which systemd-tmpfiles
    respects.

    Args:
      needed_at_exit: whether atexit functions registered in the block need the folder.

    Raises:
      OSError: the folder cannot be created.
    """
    parent = tempfile.gettempdir()
    with contextlib.suppress(OSError):  # writable, but not listable
        _remove_stale_scratch(parent)
    descriptor, folder = _make_scratch(parent)
    remove = functools.partial(_remove_scratch, descriptor, folder)
    atexit.register(remove)  # called last, since registered first
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
        with contextlib.suppress(FileNotFoundError):  # removed by another run's cleanup before it was locked
            descriptor = _lock_new(folder, os.O_RDONLY | os.O_DIRECTORY)
            if descriptor is not None:
                return descriptor, folder


def _remove_scratch(descriptor: int, folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(descriptor)


def _remove_stale_scratch(parent: str) -> None:
    """Removes this user's scratch folders of killed runs, and kills the workers that Beam started for them."""
    for name in filter(_SCRATCH.fullmatch, os.listdir(parent)):
        folder = os.path.join(parent, name)
        with contextlib.suppress(OSError):
            if os.lstat(folder).st_uid == os.geteuid():
                with _if_unlocked(folder) as is_stale:
                    if is_stale:
                        _kill_workers(folder)
                        shutil.rmtree(folder, ignore_errors=True)


def _kill_workers(folder: str) -> None:
    """Kills Beam's orphaned worker processes with this temporary folder; they would wait for their run forever.

    Other programs may have inherited the folder from a host program: they keep running.
    """
    variable = b"TMPDIR=" + os.fsencode(folder)
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_worker = _WORKER in (process / "cmdline").read_bytes()
            if is_worker and variable in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
