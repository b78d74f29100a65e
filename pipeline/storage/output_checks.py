"""Checks, before anything runs, that outputs can be written."""

import contextlib
import os
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.storage.files import explain, is_io_error, is_local, printable_path
from pipeline.storage.local import earlier_file, resolve_output, temporary_path
from pipeline.storage.locks import create_locked, new_token
from pipeline.storage.objects import check_object_path


def is_same(one: str, other: str) -> bool:
    """Returns whether two paths name the same file, symbolic links followed; of objects, whether they are equal."""
    return one == other or (is_local(one) and is_local(other) and os.path.realpath(one) == os.path.realpath(other))


def check_writable(path: str) -> bool:
    """Checks that an output can be written, as far as that shows without network.

    Returns:
      Whether rename can replace it; False for an existing file that can only be written in place: one that is mounted
      by itself, or in a folder where this user may not create files.

    Raises:
      UsageError: it is a folder, pipe, device, loop of links, or of another user, or no file can be made beside it.
    """
    if not path:
        raise UsageError("cannot be written: the name is empty")
    if not is_local(path):
        check_object_path(path)
    if path.endswith("/"):
        raise UsageError(f"{printable_path(path)}: cannot be written: it is a folder, not a file")
    try:
        return not is_local(path) or _can_replace(resolve_output(path))
    except Exception as error:
        if not is_io_error(error):
            raise
        raise UsageError(f"{printable_path(path)}: cannot be written: {explain(error)}") from None


def _can_replace(target: str) -> bool:
    earlier = earlier_file(target)
    if not (earlier and _is_mounted(target)):
        with contextlib.suppress(OSError) if earlier else contextlib.nullcontext():
            _write_probe(target)
            return True
    os.close(os.open(target, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
    return False


def _write_probe(target: str) -> None:
    token = new_token()
    descriptor, probe = create_locked(lambda: temporary_path(target, token), mode=0o600)
    try:
        os.remove(probe)  # while it is locked: else another run may do it first
    finally:
        os.close(descriptor)


def _is_mounted(target: str) -> bool:
    """Returns whether a file is a mount point of its own, as containers mount single files."""
    return _mount_id(target) != _mount_id(os.path.dirname(target))


def _mount_id(path: str) -> str:
    """Returns the kernel's number of the mount that a path is on; empty where there is no Linux /proc."""
    if not hasattr(os, "O_PATH"):
        return ""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    except FileNotFoundError:
        return ""
    finally:
        os.close(descriptor)
    return next((line for line in lines if line.startswith("mnt_id:")), "")


def check_folder(path: str) -> None:
    """UsageError where no file can be made in a folder. A missing folder on this machine is made."""
    if is_local(path):
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{printable_path(path)}: cannot be written: {error.strerror}") from None
    else:
        check_object_path(path)
    check_writable(f"{path.rstrip('/')}/probe")
