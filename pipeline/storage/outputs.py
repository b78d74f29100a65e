"""Outputs on any Beam file system: checks before a run, and atomic writes."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import OutputError, UsageError
from pipeline.storage.files import explain, is_io_error, is_local, printable_path
from pipeline.storage.local import atomic_write, earlier_file, resolve_output
from pipeline.storage.objects import check_object_path, new_object


@contextlib.contextmanager
def explained(path: str, kind: type[Exception] = OutputError) -> Iterator[None]:
    """Converts an I/O error in the block to another type, with path and reason."""
    try:
        yield
    except Exception as error:
        if not is_io_error(error):
            raise
        raise kind(f"{printable_path(path)}: cannot be written: {explain(error)}") from None


@contextlib.contextmanager
def atomic_file(path: str, token: str | None = None, durable: bool = False) -> Iterator[Any]:
    """Opens a binary stream that replaces a file or object when the block ends; not if the block raises.

    The stream is compressed by the suffix of path.

    Args:
      path: path of a file or object.
      token: as in atomic_write; for local files.
      durable: as in atomic_write; for local files.

    Raises:
      OutputError: it cannot be written.
    """
    with explained(path), atomic_write(path, token, durable) if is_local(path) else new_object(path) as stream:
        yield stream


def is_same(one: str, other: str) -> bool:
    """Returns whether two paths name the same object, or the same file after following links."""
    if one == other or not (is_local(one) and is_local(other)):
        return one == other
    with contextlib.suppress(OSError):  # one of them does not exist
        if not os.path.samefile(one, other):  # a fifth of the time that real paths take
            return False
    return os.path.realpath(one) == os.path.realpath(other)


def check_writable(path: str) -> bool:
    """Checks that an output can be written, as far as possible without network.

    Returns:
      Whether rename can replace it; False for an existing file that can only be written in place: bind-mounted, or in a
      folder where this user cannot create files.

    Raises:
      UsageError: a folder, pipe, device, loop of links, or another user's file, or no file can be created beside it.
    """
    if not path:
        raise UsageError("cannot be written: the name is empty")
    if not is_local(path):
        check_object_path(path)
    if path.endswith("/"):
        raise UsageError(f"{printable_path(path)}: cannot be written: it is a folder, not a file")
    with explained(path, UsageError):
        return not is_local(path) or _can_replace(resolve_output(path))


def _can_replace(target: str) -> bool:
    earlier = earlier_file(target)
    if not (earlier and _is_mounted(target)):
        with contextlib.suppress(OSError) if earlier else contextlib.nullcontext():
            tempfile.TemporaryFile(dir=os.path.dirname(target)).close()
            return True
    os.close(os.open(target, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
    return False


def _is_mounted(target: str) -> bool:
    """Whether a file is bind-mounted, as containers do."""
    escaped = re.sub(rb"[ \t\n\\]", lambda found: b"\\%03o" % ord(found[0]), os.fsencode(target))
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except FileNotFoundError:  # not Linux
        return False
    return any(mount.split(b" ")[4] == escaped for mount in mounts)


def check_folder(path: str) -> None:
    """Creates a missing local folder; raises UsageError if no file can be created in the folder."""
    if is_local(path):
        with explained(path, UsageError):
            os.makedirs(path, exist_ok=True)
    else:
        check_object_path(path)
    check_writable(f"{path.rstrip('/')}/probe")
