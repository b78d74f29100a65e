"""Input files, local or in buckets; printable paths; reasons of I/O errors."""

import os
from typing import Any, NamedTuple, Union

from apache_beam.io.filesystem import BeamIOError

from pipeline.errors import one_line, printable

_SERVICES = ("apache_beam.io.", "pipeline.storage.objects")
_LIBRARIES = ("apache_beam.io.", "pyarrow.")  # whose I/O errors are not OSErrors

SIZE_UNKNOWN = -1
"""Size of an InputFile that is looked up when the file is opened."""

Version = Union[tuple[int, int], str]
"""Inode and modification time (nanoseconds) of a local file; ETag or generation of an object."""


class InputFile(NamedTuple):
    """A file or object to read.

    Attributes:
      path: path or URL.
      size: bytes when listed, or SIZE_UNKNOWN.
      name: name in messages.
      modified: modification time, Unix seconds; 0 if not needed.
      version: must not change until the file is read; None if it may.
    """

    path: str
    size: int
    name: str
    modified: int = 0
    version: Version | None = None


def is_local(path: str) -> bool:
    """Returns whether a path is on this machine's file system."""
    return "://" not in path


def has_changed(file: InputFile, stream: Any) -> bool:
    """Returns whether an open file was replaced or modified since it was listed; growing does not count.

    A different inode alone proves nothing, since some file systems renumber files. Files of size 0, as in /proc, never
    count as changed.
    """
    if not (isinstance(file.version, tuple) and file.size > 0):
        return False
    status, (inode, modified) = os.fstat(stream.fileno()), file.version
    return status.st_mtime_ns != modified and (status.st_ino != inode or status.st_size <= file.size)


def printable_path(path: str) -> str:
    """Returns a path as text: bytes that are not UTF-8 as `\\xe9`, control characters as `\\x1b`."""
    if path.isascii() and path.isprintable():
        return path
    return printable(path.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"))  # of any locale


def is_io_error(error: BaseException) -> bool:
    """Returns whether an error comes from files or buckets, not from a defect in the program."""
    return isinstance(error, (OSError, EOFError)) or type(error).__module__.startswith(_LIBRARIES)


def is_transient(error: BaseException) -> bool:
    """Returns whether an I/O error comes from the system or a service, not from a file's content."""
    return getattr(error, "errno", None) is not None or type(error).__module__.startswith(_SERVICES)


def explain(error: BaseException) -> str:
    """Returns the reason of an I/O error in one line, without Beam's wrapping."""
    while isinstance(error, BeamIOError) and isinstance(error.exception_details, dict):
        inner = next(iter(error.exception_details.values()), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return getattr(error, "strerror", None) or one_line(error)  # without the temporary names
