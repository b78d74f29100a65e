"""A folder of a run for all that is temporary, held by a lock on itself; what killed runs left is removed."""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator

from pipeline.storage.locks import is_at, new_token, try_lock

_NAME = re.compile(r"hourly-report\.[0-9a-f]{32}")


@contextlib.contextmanager
def scratch_folder() -> Iterator[str]:
    """A new private folder for all temporary files of this process and those that it starts, while the block runs.

    So what an engine leaves when the run is killed is removed by the next one too. The lock is on the folder itself,
    which systemd's cleaner of temporary folders respects. Raises:
      OSError: there is no place for it.
    """
    parent = tempfile.gettempdir()
    _remove_dead(parent)
    descriptor, folder = _make(parent)
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
    """Removes this user's folders of runs that were killed."""
    for name in filter(_NAME.fullmatch, os.listdir(parent)):
        folder = os.path.join(parent, name)
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(descriptor).st_uid == os.geteuid() and try_lock(descriptor):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
