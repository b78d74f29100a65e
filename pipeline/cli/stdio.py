"""Standard streams, pipes and devices as inputs and outputs, and outputs that rename cannot replace."""

import contextlib
import errno
import fcntl
import functools
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.cli.arguments import option_named
from pipeline.errors import InputError, OutputError, UsageError
from pipeline.storage.files import InputFile, is_local, printable_path
from pipeline.storage.local import check_owner, resolve_output
from pipeline.storage.outputs import atomic_file, check_writable, explained

STANDARD = "-"
"""Standard input as an input, standard output as the output."""

REPORT = "output"

_COPY_BYTES = 1024 * 1024


def check_standard(reads: bool, writes: bool) -> None:
    """Raises UsageError if a standard stream that the run needs is closed."""
    if reads and sys.stdin is None:
        raise UsageError("standard input (-) is closed")
    if writes and sys.stdout is None:
        raise UsageError("standard output (-) is closed")


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
            _standard(sys.stdin.buffer) if pattern == STANDARD else open(pattern, "rb") as source,
            open(path, "wb") as target,
        ):
            shutil.copyfileobj(source, target, _COPY_BYTES)
    except OSError as error:
        raise InputError(f"{name}: cannot be read into a temporary file: {error.strerror}") from None
    return InputFile(path, os.path.getsize(path), name)


def _standard(stream: Any) -> contextlib.AbstractContextManager[Any]:
    """Makes a standard stream blocking, which other processes that share it may have changed, and leaves it open."""
    with contextlib.suppress(OSError):  # not a file
        os.set_blocking(stream.fileno(), True)
    return contextlib.nullcontext(stream)


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


class StagedOutputs:
    """The outputs of a run. Those that rename cannot replace are staged: streams, and files to be written in place.

    The run writes staged outputs to its scratch folder; they are copied once it has succeeded. If any output is staged,
    the report is too, so that it appears last.

    Args:
      outputs: paths given by the user, by option name; the report's is REPORT.
      folder: the run's scratch folder.

    Raises:
      UsageError: an output cannot be written; the message begins with the option.
    """

    def __init__(self, outputs: Mapping[str, str], folder: str) -> None:
        self._outputs = outputs
        self._staged: dict[str, str] = {}
        self._openers: dict[str, Callable[[], Any]] = {}
        for name, path in outputs.items():
            with option_named(name), explained(path, UsageError):
                opener = _opener(path)
            if opener:
                self._openers[name] = opener
                self._staged[name] = os.path.join(folder, name + os.path.splitext(path)[1])  # compressed by its suffix
        if self._staged and REPORT not in self._staged:
            self._openers[REPORT] = functools.partial(atomic_file, outputs[REPORT], durable=True)
            self._staged[REPORT] = os.path.join(folder, REPORT)  # compressed when it is copied

    @property
    def paths(self) -> dict[str, str]:
        """Paths for the run to write to, by option name."""
        return {**self._outputs, **self._staged}

    def deliver(self) -> None:
        """Copies the staged outputs, the report last.

        Raises:
          BrokenPipeError: the report's reader closed its end.
          OutputError: an output cannot be written.
        """
        for name in sorted(self._staged, key=lambda name: name == REPORT):
            with contextlib.suppress(*() if name == REPORT else (BrokenPipeError,)):
                self._deliver(name)

    def _deliver(self, name: str) -> None:
        path = self._outputs[name]
        try:
            with self._openers[name]() as target, open(self._staged[name], "rb") as source:
                shutil.copyfileobj(source, target, _COPY_BYTES)
                target.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            shown = "standard output" if path == STANDARD else printable_path(path)
            raise OutputError(f"{shown}: cannot be written: {error.strerror}") from None


def _opener(path: str) -> Callable[[], Any] | None:
    """Returns a function that opens an output to be staged; None for one that rename can replace.

    Raises:
      OSError, UsageError: it cannot be written.
    """
    if path == STANDARD:
        return lambda: _standard(sys.stdout.buffer)
    if is_stream_output(path):
        return functools.partial(open, _open_stream(path), "wb")
    return None if check_writable(path) else functools.partial(_open_in_place, path)


def _open_stream(path: str) -> int:
    """Opens a pipe, device or descriptor; returns its descriptor.

    Raises:
      OSError: it cannot be written, or is a named pipe without a reader, where opening would hang.
    """
    descriptor = descriptor_of(path)
    if descriptor is not None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise PermissionError(errno.EACCES, "open for reading only")
        descriptor = os.dup(descriptor)
    else:
        descriptor = _open_pipe(resolve_output(path))
    os.set_blocking(descriptor, True)
    return descriptor


def _open_pipe(target: str) -> int:
    check_owner(os.stat(target), os.path.dirname(target))
    try:
        return os.open(target, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            error.strerror = "named pipe without a reader"
        raise


def _open_in_place(path: str) -> Any:
    """Opens and truncates a file that rename cannot replace."""
    return open(os.open(resolve_output(path), os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC), "wb")


def flush() -> None:
    """Flushes standard output before the interpreter does, which would print errors."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # discards the buffer
