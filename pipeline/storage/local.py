"""Writes files on this machine whole or not at all, through a temporary file beside them. No Beam."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import Any

from pipeline.storage.compression import compressing
from pipeline.storage.temporary import new_token, run_lock, temporary_path

_MAX_LINKS = 40  # as Linux
_EVERYONE_WRITES = stat.S_ISVTX | stat.S_IWOTH


def resolve_output(path: str) -> str:
    """Returns the real path of an output.

    In a sticky folder that everyone can write to, such as /tmp, only links of this user or of the folder's owner are
    followed. The kernel has this rule (protected_symlinks) for opening files, but a rename to a real path evades it.

    Raises:
      OSError: a link belongs to another user, or links lead in a circle.
    """
    resolved, rest = ("/" if path.startswith("/") else os.getcwd()), path.split("/")[::-1]
    links = 0
    while rest:
        name = rest.pop()
        if name == "..":
            resolved = os.path.dirname(resolved)
        elif os.path.islink(found := os.path.join(resolved, name)):
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            check_owner(os.lstat(found), resolved, "its link")
            target = os.readlink(found)
            resolved = "/" if target.startswith("/") else resolved
            rest += target.split("/")[::-1]
        elif name not in ("", "."):
            resolved = found
    return resolved


def earlier_file(target: str) -> os.stat_result | None:
    """Returns the status of an output that exists already, or None.

    Args:
      target: a path without links, as resolve_output returns it.

    Raises:
      OSError: it must not be replaced: it is no regular file, or another user's in a folder that everyone writes to.
    """
    try:
        status = os.stat(target)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        kind = "it is a folder" if stat.S_ISDIR(status.st_mode) else "it is a pipe, socket or device"
        raise OSError(f"{kind}, not a file")
    check_owner(status, os.path.dirname(target), "it")
    return status


def check_owner(status: os.stat_result, folder: str, what: str) -> None:
    """Raises OSError where a file or link is another user's, in a sticky folder that everyone can write to."""
    parent = os.stat(folder)
    if parent.st_mode & _EVERYONE_WRITES == _EVERYONE_WRITES and status.st_uid not in (os.geteuid(), parent.st_uid):
        raise PermissionError(errno.EACCES, f"{what} belongs to another user, in a folder where everyone can write")


@contextlib.contextmanager
def atomic_write(path: str, token: str | None = None, durable: bool = False) -> Iterator[Any]:
    """Opens a binary stream whose bytes appear under path when the block ends; not at all if the block raises.

    The stream is compressed as the suffix of path says. An earlier file is replaced; its mode is kept, and its owner
    and group where that is allowed. Links are followed as resolve_output does.

    Args:
      path: of the file.
      token: of the run, which holds the lock of the folder; None: the lock is held here.
      durable: the bytes are on the disk before they appear, in case the power fails (4 ms; 0.1 s for 200 MB).

    Raises:
      OSError: it cannot be written, or path names something other than a file.
    """
    target = resolve_output(path)
    earlier = earlier_file(target)
    with contextlib.ExitStack() as stack:
        if not token:
            token = new_token()
            stack.enter_context(run_lock([os.path.dirname(target)], token))
        temporary = temporary_path(target, token)
        mode = 0o600 if earlier else 0o666  # a private file is private from the first byte
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except OSError as error:
            error.filename = path  # not the temporary one
            raise
        try:
            with open(descriptor, "wb") as stream:
                with compressing(path, stream) as compressed:
                    yield compressed
                _finish(stream, earlier, durable)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to report
                os.remove(temporary)
            raise


def _finish(stream: Any, earlier: os.stat_result | None, durable: bool) -> None:
    stream.flush()
    if earlier:
        _take_over(stream.fileno(), earlier)
    if durable:
        os.fsync(stream.fileno())


def _take_over(descriptor: int, earlier: os.stat_result) -> None:
    """Gives a file the owner, group and mode of an earlier one, as far as this user and its file system can."""
    for owner, group in ((-1, earlier.st_gid), (earlier.st_uid, -1)):
        with contextlib.suppress(OSError):
            os.fchown(descriptor, owner, group)
    with contextlib.suppress(PermissionError):  # of a file system without modes
        os.fchmod(descriptor, stat.S_IMODE(earlier.st_mode))
