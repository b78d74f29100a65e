"""A run's own folder for temporary files, locked while it is used; folders that killed runs left are removed."""

import atexit
import contextlib
import functools
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.storage.locks import is_at, new_token, try_lock

_NAME = re.compile(r"hourly-report\.[0-9a-f]{32}")


@contextlib.contextmanager
def scratch_folder(needed_at_exit: Callable[[], bool] = lambda: False) -> Iterator[str]:
    """A new private folder for the temporary files of this process and of those that it starts, while the block runs.

    The next run removes it where this one is killed, with what the runner left there. The lock is on the folder
    itself, which systemd's cleaner of temporary folders respects. needed_at_exit: whether the folder must stay until
    the interpreter has called what the block registered for its exit. Raises:
      OSError: the folder cannot be made.
    """
    parent = tempfile.gettempdir()
    with contextlib.suppress(OSError):  # it may be written to, but not listed
        _remove_dead(parent)
    descriptor, folder = _make(parent)
    remove = functools.partial(_remove, descriptor, folder)
    atexit.register(remove)  # the last registered is called first
    before, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    try:
        yield folder
    finally:
        tempfile.tempdir = before
        if variable is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = variable
        if not needed_at_exit():
            atexit.unregister(remove)
            remove()


def _remove(descriptor: int, folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(descriptor)


def _make(parent: str) -> tuple[int, str]:
    while True:
        folder = os.path.join(parent, f"hourly-report.{new_token()}")
        os.mkdir(folder, 0o700)
        with contextlib.suppress(FileNotFoundError):  # another start took it for a dead run's
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try_lock(descriptor, wait=True)
            if is_at(folder, descriptor):
                return descriptor, folder
            os.close(descriptor)


def _remove_dead(parent: str) -> None:
    """Removes this user's folders of runs that were killed, and ends the programs that these had started."""
    for name in filter(_NAME.fullmatch, os.listdir(parent)):
        folder = os.path.join(parent, name)
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(descriptor).st_uid == os.geteuid() and try_lock(descriptor):
                    _end_programs(folder)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _end_programs(folder: str) -> None:
    """Kills the processes with this temporary folder: Prism, for one, does not notice that its run is gone."""
    variable = b"TMPDIR=" + os.fsencode(folder)
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if variable in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
