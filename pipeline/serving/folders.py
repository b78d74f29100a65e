"""The folder of a running server: private, locked while it is used, removed at the end or by the next start."""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from pipeline.storage.locks import is_at, new_token, try_lock

_PREFIX = "hourly-report-server."


@contextlib.contextmanager
def runtime_folder() -> Iterator[Path]:
    """A new folder; removes before what servers left that were killed. Raises OSError: there is no place for it."""
    parent = Path(tempfile.gettempdir())
    with contextlib.suppress(OSError):  # it may be written to, but not listed
        remove_stale(parent)
    folder = parent / f"{_PREFIX}{new_token()}"
    hold = Hold(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        hold.release()


class Hold:
    """Shares a lock on a folder itself, which other starts and systemd's cleaner of temporary folders respect.

    The folder is made where there is none.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._descriptor = folder, -1
        self._lock = threading.Lock()
        self.renew()

    def renew(self) -> None:
        """Makes the folder again where it was removed all the same. Raises OSError, also where it is not ours."""
        with self._lock:
            while not (self._descriptor >= 0 and is_at(str(self._folder), self._descriptor)):
                self.release()
                with contextlib.suppress(FileNotFoundError):  # another start took it for a stale one
                    self._descriptor = _share(self._folder)

    def release(self) -> None:
        """Gives back the lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def _share(folder: Path) -> int:
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o700)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    if os.fstat(descriptor).st_uid != os.geteuid():
        os.close(descriptor)
        raise PermissionError(errno.EACCES, "it is another user's", str(folder))
    with contextlib.suppress(OSError):  # file systems without locks
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def remove_stale(parent: Path) -> None:
    """Removes the folders of this user's servers that nobody holds any more; OSError: parent cannot be listed."""
    for name in os.listdir(parent):
        if name.startswith(_PREFIX):
            with contextlib.suppress(OSError):
                _remove_unheld(parent / name)


def _remove_unheld(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid == os.geteuid() and try_lock(descriptor):
            shutil.rmtree(folder)
    finally:
        os.close(descriptor)
