"""What the server takes from its machine: a folder for temporary files, open files for connections, cores, memory."""

import contextlib
import errno
import fcntl
import os
import resource
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from pipeline.storage.locks import is_at, new_token, try_lock

_PREFIX = "hourly-report-server."

SERVED = "served"
"""A file in the folder, there while a worker can make reports: workers that start leave connections to that one."""

_CONNECTIONS = 1000
_FILES_A_CONNECTION = 2  # its socket, and its body or its report
_FILES_A_SLOT = 32
_FILES = 160  # of the process itself: about 70 for Beam, and room for more


@contextlib.contextmanager
def runtime_folder() -> Iterator[Path]:
    """A new private folder, locked while it is used; removed at the end, or by the next start of a server.

    First removes those that killed servers left. Raises OSError: it cannot be made.
    """
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
    """A shared lock on a folder, which other starts and systemd's cleaner of temporary folders respect.

    A missing folder is made. Raises OSError: it cannot be made, or belongs to another user.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._descriptor = folder, -1
        self._lock = threading.Lock()
        self.renew()

    def renew(self) -> None:
        """Makes and locks the folder again if it was removed all the same. Raises OSError as above."""
        with self._lock:
            while not (self._descriptor >= 0 and is_at(str(self._folder), self._descriptor)):
                self.release()
                with contextlib.suppress(FileNotFoundError):  # another start took it for a stale one
                    self._descriptor = _share(self._folder)

    def release(self) -> None:
        """Releases the lock."""
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
    os.fchmod(descriptor, 0o700)  # what made it again may have asked for less
    with contextlib.suppress(OSError):  # file systems without locks
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def remove_stale(parent: Path) -> None:
    """Removes folders of this user's servers that are not locked any more. OSError: parent cannot be listed."""
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


def cores() -> int:
    """How many cores this process may use, by its affinity where the system has that."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def connections(slots: int) -> int:
    """How many connections a process may accept so that open files suffice; others wait until one is closed.

    slots: of the process. Raises the limit of open files as far as that needs and the system allows.
    """
    own = _FILES + slots * _FILES_A_SLOT
    wanted = own + _CONNECTIONS * _FILES_A_CONNECTION
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < files:
        with contextlib.suppress(ValueError, OSError):  # macOS has another limit below
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
            soft = files
    available = _CONNECTIONS if soft == resource.RLIM_INFINITY else (soft - own) // _FILES_A_CONNECTION
    return max(16, min(_CONNECTIONS, available))


def bound_memory() -> None:
    """Limits glibc's malloc to two arenas in processes that are started from here; freed memory stays in each arena.

    By default there are eight a core, and a worker grew from 256 to 392 MiB over thousands of requests.
    """
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
