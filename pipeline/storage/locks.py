"""Locks that tell the temporary files of running runs from those that killed runs left.

A run holds a lock file in each folder that it writes to; the kernel releases it when the process ends, however that
happens. A temporary file that is not locked, and whose run holds no lock, was left by a killed run. No Beam here.
"""

import contextlib
import fcntl
import os
import re
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator

TEMPORARY = re.compile(r"\..*\.([0-9a-f]{32})-(?:[0-9a-f]{32}|lock)", re.DOTALL)
_LONGEST = 60  # bytes of a name: some encrypted file systems have room for 143 in all


def new_token() -> str:
    """A token that names a run."""
    return uuid.uuid4().hex


def prefix(name: str, token: str) -> str:
    """What the hidden names of one run's temporary files for an output begin with. token: the run's."""
    return f"{start(name)}{token}-"


def start(name: str) -> str:
    """What the hidden names of all runs' temporary files for an output begin with."""
    while len(os.fsencode(name)) > _LONGEST:
        name = name[:-1]
    return f".{name}."


def create_locked(make_path: Callable[[], str], flags: int = os.O_WRONLY, mode: int = 0o666) -> tuple[int, str]:
    """Creates a file at a path that make_path gives; returns its descriptor, which holds its lock, and the path.

    Raises:
      OSError: it cannot be created.
    """
    while True:
        path = make_path()
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        _lock_new(descriptor)
        if is_at(path, descriptor):  # nobody took it for a dead run's before it was locked
            return descriptor, path
        os.close(descriptor)


def _lock_new(descriptor: int) -> None:
    """Locks a new file. Gives up after a second: whoever can open the file can hold its lock for ever."""
    for _ in range(100):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:  # a file system without locks
            return


def try_lock(descriptor: int, wait: bool = False) -> bool:
    """Locks an open file or folder. False where another process holds the lock, or its file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def is_at(path: str, descriptor: int) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:
        return False


@contextlib.contextmanager
def held(folders: Iterable[str], token: str) -> Iterator[None]:
    """Marks a run's temporary files in folders of this machine as in use while the block runs.

    First removes those that killed runs left there.
    """
    folders = sorted({os.path.realpath(folder) for folder in folders})
    descriptors = []
    try:
        for folder in folders:
            with contextlib.suppress(OSError):  # where no lock can be made no output can be: its writing tells
                remove_dead(folder)
                descriptors.append(create_locked(lambda folder=folder: _lock_path(folder, token))[0])  # type: ignore[misc]
        yield
    finally:
        for folder in folders:  # also where a signal came before the new lock was in the list
            with contextlib.suppress(OSError):
                os.remove(_lock_path(folder, token))
        for descriptor in descriptors:
            os.close(descriptor)


def _lock_path(folder: str, token: str) -> str:
    return os.path.join(folder, f".hourly-report.{token}-lock")


def remove_dead(folder: str) -> None:
    """Removes the temporary files that killed runs have left in a folder.

    Raises:
      OSError: the folder cannot be listed.
    """
    dead: dict[str, list[str]] = {}
    for name in os.listdir(folder):
        found = TEMPORARY.fullmatch(name)
        if found:
            dead.setdefault(found.group(1), []).append(os.path.join(folder, name))
    for token, paths in dead.items():
        lock = _lock_path(folder, token)
        if lock not in paths:
            _remove_unlocked(paths)
        else:
            with if_unlocked(lock) as ours:
                if ours:
                    _remove_unlocked(paths, but=lock)
                    os.remove(lock)


def remove_of(folder: str, token: str) -> None:
    """Removes a run's own temporary files, but not its lock; OSError where that fails."""
    for name in os.listdir(folder):
        found = TEMPORARY.fullmatch(name)
        if found and found.group(1) == token and not name.endswith("-lock"):
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(folder, name))


def _remove_unlocked(paths: list[str], but: str = "") -> None:
    for path in paths:
        with if_unlocked(path) if path != but else contextlib.nullcontext(False) as ours:
            if ours:
                with contextlib.suppress(OSError):
                    os.remove(path)


@contextlib.contextmanager
def if_unlocked(path: str, is_kind: Callable[[int], bool] = stat.S_ISREG) -> Iterator[bool]:
    """Locks a regular file, or what has another kind of mode, while the block runs; yields False where it cannot."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        yield is_kind(os.fstat(descriptor).st_mode) and try_lock(descriptor) and is_at(path, descriptor)
    finally:
        os.close(descriptor)
