"""Files to read, on this machine or in buckets: what is known of them, how messages name them, errors in words."""

import os
from typing import Any, NamedTuple, Union

from apache_beam.io.filesystem import BeamIOError

from pipeline.errors import one_line, printable

_SERVICES = ("apache_beam.io.", "pipeline.storage.objects")
_LIBRARIES = ("apache_beam.io.", "pyarrow.")  # that have errors of their own

SIZE_UNKNOWN = -1
"""The size of an InputFile that was not listed: it is looked up when the file is opened."""

Version = Union[tuple[int, int], str]
"""Of a file on this machine: inode and time of the last change (nanoseconds). Of an object: ETag or generation."""


class InputFile(NamedTuple):
    """A file to read.

    size: in bytes when it was listed, or SIZE_UNKNOWN. name: what messages call it. modified: when it was last
    written, Unix seconds; 0 where it is not needed. version: what must not change until it is read; None if it may.
    """

    path: str
    size: int
    name: str
    modified: int = 0
    version: Version | None = None


def is_local(path: str) -> bool:
    """Whether a path is on this machine's own file system."""
    return "://" not in path


def has_changed(file: InputFile, stream: Any) -> bool:
    """Whether an open file was replaced or written to since it was listed. A file that only grew has not changed.

    Another inode alone proves nothing: some file systems number a file anew each time. Files whose size reads as 0, as
    in /proc, never count as changed.
    """
    if not (isinstance(file.version, tuple) and file.size > 0):
        return False
    status, (inode, modified) = os.fstat(stream.fileno()), file.version
    return status.st_mtime_ns != modified and (status.st_ino != inode or status.st_size <= file.size)


def printable_path(path: str) -> str:
    """A path as text for messages and files: bytes that are not UTF-8 as `\\xe9`, control characters as `\\x1b`."""
    return printable(path.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"))  # of any locale


def is_io_error(error: BaseException) -> bool:
    """Whether an error comes from a file or bucket, not from a defect here."""
    return isinstance(error, (OSError, EOFError)) or type(error).__module__.startswith(_LIBRARIES)


def is_transient(error: BaseException) -> bool:
    """Whether an error of storage comes from the system or a service, not from what a file holds."""
    return getattr(error, "errno", None) is not None or type(error).__module__.startswith(_SERVICES)


def explain(error: BaseException) -> str:
    """An error's reason on one line, without Beam's wrapping."""
    while isinstance(error, BeamIOError) and isinstance(error.exception_details, dict):
        inner = next(iter(error.exception_details.values()), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return getattr(error, "strerror", None) or one_line(error)  # without the temporary names
