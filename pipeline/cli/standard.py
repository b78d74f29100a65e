"""Standard streams, which may be closed, full or gone, and pipes as inputs."""

import contextlib
import os
import select
import stat
import sys
from typing import BinaryIO

from pipeline.errors import InputError, OutputError, UsageError
from pipeline.storage.files import InputFile, shown

STANDARD = "-"
"""As an input, standard input; as the output, standard output."""

_COPY_BYTES = 1024 * 1024


def check_standard(reads: bool, writes: bool) -> None:
    """UsageError where a standard stream that is to be read or written is closed."""
    if reads and sys.stdin is None:
        raise UsageError("standard input (-) is closed")
    if writes and sys.stdout is None:
        raise UsageError("standard output (-) is closed")


def print_file(path: str) -> None:
    """Copies a file to standard output.

    Raises:
      BrokenPipeError: its reader has gone.
      OutputError: it cannot be written.
    """
    try:
        with open(path, "rb") as report:
            while piece := report.read(_COPY_BYTES):
                _write(sys.stdout.buffer, piece)
        _flush(sys.stdout.buffer)
    except OSError as error:
        _discard()
        if isinstance(error, BrokenPipeError):
            raise
        raise OutputError(f"standard output: cannot be written: {error.strerror}") from None


def flush() -> None:
    """Flushes standard output before the interpreter does, which would complain."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except (OSError, ValueError):
        _discard()


def _discard() -> None:
    """Drops what standard output still holds."""
    with contextlib.suppress(OSError, ValueError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)


def _read(stream: BinaryIO) -> bytes:
    """The next bytes; none at the end.

    Another process may have made a pipe non-blocking: a read then gives None, which is easily mistaken for the end.
    """
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
    """Whether a path is a pipe or device, which can be read only once."""
    with contextlib.suppress(OSError, ValueError):
        mode = os.stat(path).st_mode
        return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
    return False


def spool(pattern: str, folder: str, number: int) -> InputFile:
    """Copies standard input or a pipe to a file, since a source is sized, split and perhaps read again.

    Raises:
      InputError: it cannot be read, or there is no room for it.
    """
    path = os.path.join(folder, f"input-{number}")
    name = "standard input" if pattern == STANDARD else shown(pattern)
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
