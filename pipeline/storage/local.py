"""Atomic writes of local files, through a temporary file beside them. Does not depend on Beam."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import Any

from pipeline.storage.compression import compressing
from pipeline.storage.temporary import new_token, run_lock, temporary_path

_MAX_LINKS = 40  # as Linux
_STICKY_WORLD = stat.S_ISVTX | stat.S_IWOTH


def resolve_output(path: str) -> str:
    """Returns the real path of an output.

    In a sticky world-writable folder such as /tmp, only links of this user or of the folder's owner are followed: the
    kernel's rule (protected_symlinks) for opening files, which a rename to a real path evades.

    Raises:
      OSError: a link is owned by another user, or there are too many levels of links.
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
            check_owner(os.lstat(found), resolved, "link")
            target = os.readlink(found)
            resolved = "/" if target.startswith("/") else resolved
            rest += target.split("/")[::-1]
        elif name not in ("", "."):
            resolved = found
    return resolved


def earlier_file(target: str) -> os.stat_result | None:
    """Returns the status of an existing output, or None.

    Args:
      target: a path without links, from resolve_output.

    Raises:
      OSError: not a regular file, or owned by another user in a world-writable folder.
    """
    try:
        status = os.stat(target)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        kind = "it is a folder" if stat.S_ISDIR(status.st_mode) else "it is a pipe, socket or device"
        raise OSError(f"{kind}, not a file")
    check_owner(status, os.path.dirname(target))
    return status


def check_owner(status: os.stat_result, folder: str, kind: str = "file") -> None:
    """Raises OSError for a file or link of another user in a sticky world-writable folder."""
    parent = os.stat(folder)
    if parent.st_mode & _STICKY_WORLD == _STICKY_WORLD and status.st_uid not in (os.geteuid(), parent.st_uid):
        raise PermissionError(errno.EACCES, f"{kind} owned by another user in a world-writable folder")


@contextlib.contextmanager
def atomic_write(path: str, token: str | None = None, durable: bool = False) -> Iterator[Any]:
    """Opens a binary stream that replaces a file when the block ends; the file is unchanged if the block raises.

    The stream is compressed by the suffix of path. The mode of an existing file is kept, and its owner and group if
    permitted. Links are followed by resolve_output.

    Args:
      path: path of the file.
      token: token of the run that has locked the folder; None: lock it here.
      durable: sync the file to the disk before it appears (4 ms; 0.1 s for 200 MB).

    Raises:
      OSError: it cannot be written, or path is not a file.
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
            error.filename = path  # not the temporary path
            raise
        try:
            with open(descriptor, "wb") as stream:
                with compressing(path, stream) as compressed:
                    yield compressed
                _finish(stream, earlier, durable)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):  # report the first error
                os.remove(temporary)
            raise


def _finish(stream: Any, earlier: os.stat_result | None, durable: bool) -> None:
    stream.flush()
    if earlier:
        _copy_permissions(stream.fileno(), earlier)
    if durable:
        os.fsync(stream.fileno())


def _copy_permissions(descriptor: int, earlier: os.stat_result) -> None:
    """Copies owner, group and mode of an existing file, as far as permitted."""
    for owner, group in ((-1, earlier.st_gid), (earlier.st_uid, -1)):
        with contextlib.suppress(OSError):
            os.fchown(descriptor, owner, group)
    with contextlib.suppress(PermissionError):  # a file system without modes
        os.fchmod(descriptor, stat.S_IMODE(earlier.st_mode))
