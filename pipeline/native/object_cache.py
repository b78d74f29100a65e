"""Caches compiled code in the user's cache folder, in files that no other user can have written."""

import contextlib
import hashlib
import os
import stat
import uuid
from collections.abc import Iterator

_DIGEST_BYTES = 32


def read_object(name: str) -> bytes | None:
    """Returns the code of a cache file, or None if there is none that is trusted and intact.

    Code of another user would run as this one. Damaged code would crash the process.
    """
    try:
        with _open_folder() as folder, open(_open_private(name, folder), "rb") as file:
            content = file.read()
    except OSError:
        return None
    code = content[_DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == content[:_DIGEST_BYTES] else None


def write_object(name: str, code: bytes) -> None:
    """Writes code to a cache file atomically; does nothing without a trusted cache folder."""
    with contextlib.suppress(OSError), _open_folder() as folder:
        temporary = f"{name}.{uuid.uuid4().hex}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=folder)
        try:
            with open(descriptor, "wb") as file:
                file.write(hashlib.sha256(code).digest() + code)
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.unlink(temporary, dir_fd=folder)


def cache_folder() -> str | None:
    """Returns the cache folder, which need not exist; None without a home. Ignores relative paths."""
    home = os.environ.get("HOME", "")
    for base in (os.environ.get("XDG_CACHE_HOME", ""), os.path.join(home, ".cache")):
        if os.path.isabs(base):
            return os.path.join(base, "hourly-report")
    return None


@contextlib.contextmanager
def _open_folder() -> Iterator[int]:
    """Opens or creates the folder; raises OSError if it is not trusted."""
    path = cache_folder()
    if path is None:
        raise FileNotFoundError("no home")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o755)
    descriptor = _open_private(path, None, os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_private(path: str, folder: int | None, flags: int = os.O_NONBLOCK) -> int:
    """Opens a file or folder that only root or this user can write to, and that is not a link."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=folder)
    status = os.fstat(descriptor)
    if status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return descriptor
    os.close(descriptor)
    raise PermissionError(f"{path}: others can write to it")
