"""The folder of a running server: private, locked while it is used, removed at the end or by the next start."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_PREFIX = "report-server-"
_LOCK = "lock"
_NEW_SECONDS = 60


@contextlib.contextmanager
def runtime_folder() -> Iterator[Path]:
    """A new folder; removes before what servers left that were killed."""
    remove_stale(Path(tempfile.gettempdir()))
    while (held := _make()) is None:
        pass
    folder, lock = held
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def hold(folder: Path) -> IO[bytes]:
    """Shares the lock of a folder, for as long as the file that is returned is open: nobody will remove it."""
    lock = open(folder / _LOCK, "ab")  # noqa: SIM115
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def _make() -> tuple[Path, IO[bytes]] | None:
    """A new folder and its lock; None where another start took it for a stale one before it was locked."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    with contextlib.suppress(FileNotFoundError):
        lock = hold(folder)
        if (folder / _LOCK).exists():
            return folder, lock
        lock.close()
    return None


def remove_stale(parent: Path) -> None:
    """Removes the folders of this user's servers that nobody holds any more."""
    for folder in parent.glob(_PREFIX + "*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            if not (folder / _LOCK).exists() and time.time() - folder.stat().st_mtime > _NEW_SECONDS:
                folder.rmdir()  # killed before it was locked
            with open(folder / _LOCK, "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
