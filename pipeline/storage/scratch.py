"""A run's own folder for temporary files, locked while it is used; folders that killed runs left are removed."""

import atexit
import contextlib
import functools
import os
import re
import shutil
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.storage.locks import if_unlocked, is_at, new_token, try_lock

_WORKER = b"apache_beam.runners.worker.sdk_worker_main"
_NAME = re.compile(r"hourly-report\.[0-9a-f]{32}")


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
    """Removes this user's folders of runs that were killed, and ends the workers that Beam had started for these."""
    for name in filter(_NAME.fullmatch, os.listdir(parent)):
        folder = os.path.join(parent, name)
        with contextlib.suppress(OSError):
            if os.lstat(folder).st_uid == os.geteuid():
                with if_unlocked(folder, stat.S_ISDIR) as is_dead:
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
