"""Standard streams, pipes and devices as inputs and outputs."""

import contextlib
import errno
import fcntl
import os
import re
import select
import stat
import sys
from typing import BinaryIO

from pipeline.errors import InputError, OutputError, UsageError
from pipeline.storage.files import InputFile, is_local, printable_path
from pipeline.storage.local import check_owner, resolve_output

STANDARD = "-"
"""Standard input as an input, standard output as the output."""

_COPY_BYTES = 1024 * 1024


def check_standard(reads: bool, writes: bool) -> None:
    """Raises UsageError if a standard stream that the run needs is closed."""
    if reads and sys.stdin is None:
        raise UsageError("standard input (-) is closed")
    if writes and sys.stdout is None:
        raise UsageError("standard output (-) is closed")


def descriptor_of(path: str) -> int | None:
    """Returns the open descriptor named by a path such as /dev/stdout, /dev/fd/63 or a link to one, or None."""
    if not is_local(path):
        return None
    for _ in range(40):
        folder, name = os.path.split(path)
        if re.fullmatch("[0-9]{1,9}", name) and os.path.realpath(folder) in ("/dev/fd", f"/proc/{os.getpid()}/fd"):
            return int(name)
        try:
            path = os.path.join(folder, os.readlink(path))
        except (OSError, ValueError):
            return None
    return None


def output_name(path: str) -> str:
    """Returns an output's path, `-` for any name of standard output."""
    return STANDARD if descriptor_of(path) == 1 else path


def is_stream_output(path: str) -> bool:
    """Returns whether an output is an open descriptor, such as standard output, a pipe or a device."""
    return path == STANDARD or descriptor_of(path) is not None or is_pipe(path)


def open_stream(path: str) -> int | None:
    """Opens a stream output; returns its descriptor, None for standard output.

    Raises:
      OSError: it cannot be written, or is a named pipe without a reader, where opening would hang.
    """
    if path == STANDARD:
        return None
    descriptor = descriptor_of(path)
    if descriptor is None:
        target = resolve_output(path)
        check_owner(os.stat(target), os.path.dirname(target))
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ENXIO:
                error.strerror = "named pipe without a reader"
            raise
        os.set_blocking(descriptor, True)
        return descriptor
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise PermissionError(errno.EACCES, "open for reading only")
    return os.dup(descriptor)


def open_in_place(path: str) -> int:
    """Opens and truncates a file that rename cannot replace."""
    return os.open(resolve_output(path), os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)


def copy_file(source: str, name: str, descriptor: int | None = None) -> None:
    """Copies a file to a descriptor, which it closes, or to standard output.

    Args:
      source: path of the file.
      name: name of the output in errors.
      descriptor: None for standard output.

    Raises:
      BrokenPipeError: the reader closed its end.
      OutputError: it cannot be written.
    """
    try:
        with (
            contextlib.nullcontext(sys.stdout.buffer) if descriptor is None else open(descriptor, "wb") as target,
            open(source, "rb") as file,
        ):
            while piece := file.read(_COPY_BYTES):
                _write(target, piece)
            _flush(target)
    except OSError as error:
        if descriptor is None:
            _discard()
        if isinstance(error, BrokenPipeError):
            raise
        raise OutputError(f"{name}: cannot be written: {error.strerror}") from None


def flush() -> None:
    """Flushes standard output before the interpreter does, which would print errors."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except (OSError, ValueError):
        _discard()


def _discard() -> None:
    """Discards the buffer of standard output."""
    with contextlib.suppress(OSError, ValueError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)


def _read(stream: BinaryIO) -> bytes:
    """Returns the next bytes; empty at the end. A pipe made non-blocking by another process may return None first."""
    while (piece := stream.read(_COPY_BYTES)) is None:
        select.select([stream], [], [])
    return piece


def _write(stream: BinaryIO, piece: bytes) -> None:
    rest = memoryview(piece)
    while len(rest):
        try:
            rest = rest[stream.write(rest) :]
        except BlockingIOError as error:
            rest = rest[error.characters_written :]
            select.select([], [stream], [])


def _flush(stream: BinaryIO) -> None:
    while True:
        try:
            return stream.flush()
        except BlockingIOError:
            select.select([], [stream], [])


def is_pipe(path: str) -> bool:
    """Returns whether a path is a pipe or character device, which can be read only once."""
    with contextlib.suppress(OSError, ValueError):
        mode = os.stat(path).st_mode
        return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
    return False


def spool(pattern: str, folder: str, number: int) -> InputFile:
    """Copies standard input or a pipe to a file, since sources are split and may be read twice.

    Raises:
      InputError: it cannot be read, or the disk is full.
    """
    path = os.path.join(folder, f"input-{number}")
    name = "standard input" if pattern == STANDARD else printable_path(pattern)
    try:
        with (
            contextlib.nullcontext(sys.stdin.buffer) if pattern == STANDARD else open(pattern, "rb") as source,
            open(path, "wb") as target,
        ):
            while piece := _read(source):
                target.write(piece)
    except OSError as error:
        raise InputError(f"{name}: cannot be read into a temporary file: {error.strerror}") from None
    return InputFile(path, os.path.getsize(path), name)
