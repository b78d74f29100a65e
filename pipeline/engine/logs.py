"""What a program of this project logs: warnings, one line each, on stderr."""

import contextlib
import logging
import os
import re
import sys
import threading
from typing import Any, TextIO

from pipeline.engine.run_state import run_state
from pipeline.errors import PipelineError, printable

_SAID_ELSEWHERE = (
    "apitools not found",
    "Error in _start_upload while inserting file",  # of S3
    "HTTP error while requesting file",
    "Prism received bundle error",  # the run fails with the error itself
    "stage.Execute aborting due to bundle error",
    "Failed to read inputs in the data plane",  # an engine that was ended, or lost: the run says which
)


_COLUMNS = 80  # where a terminal does not say how many it has
_width = 0  # of the line that is renewed


def configure() -> None:
    """Sets up logging, and standard streams that are closed.

    To be called before Beam is imported, since it warns at import of extras that are not needed.
    """
    _open_missing()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", force=True)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_new)
    logging.getLogger("apache_beam.utils.subprocess_server").setLevel(logging.ERROR)  # warns of each start of Prism
    threading.excepthook = _log_thread


def _open_missing() -> None:
    """Opens the null device for standard streams that are closed, as under cron.

    Another file would get their number, and what is printed to stderr would go to it: print() takes no stream for
    sys.stdout.
    """
    for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
        if stream is None and not _is_open(number):
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _is_new(record: logging.LogRecord) -> bool:
    """False for what is said elsewhere: users' errors, which Beam logs with a traceback before it raises them."""
    if record.name == "PrismRunner" and record.levelno < logging.ERROR:
        return False
    error = record.exc_info[1] if record.exc_info else None
    message = record.getMessage()
    users = isinstance(error, (PipelineError, KeyboardInterrupt))  # a signal ends a run as an error does
    users = users or _is_traceback_to_drop(message) or _is_traceback_to_drop(str(error))
    given_up = bool(error) and run_state.cancelled.is_set()
    if users or given_up or message.startswith(_SAID_ELSEWHERE):
        return False
    clear_status()
    return True


def _is_traceback_to_drop(text: str) -> bool:
    """Whether a worker sent the traceback of a user's error, perhaps within a message of its own, or was given up."""
    is_told = run_state.cancelled.is_set() or re.search(r"pipeline\.errors\.\w+: ", text)
    return "Traceback (most recent call last)" in text and bool(is_told)


def _log_thread(failure: threading.ExceptHookArgs) -> None:
    """The end of a thread: Beam's threads end so when an engine is lost, which the run itself reports."""
    logging.getLogger(__name__).debug("a thread ended", exc_info=failure.exc_value)


def print_line(text: str) -> None:
    """Prints a line on stderr. One that is closed or full must not change how a program ends."""
    clear_status()
    _print(printable(text, but="\n") + "\n")


def update_status(text: str) -> None:
    """Shows a line on a terminal, where the one before was; what is said later takes its place."""
    global _width
    text = printable(text)[: _columns() - 1]
    before, _width = _width, len(text)
    _print(f"\r{text.ljust(before)}")


def _columns() -> int:
    with contextlib.suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
    return _COLUMNS


def clear_status() -> None:
    """Removes the line that is renewed, if it stands there."""
    global _width
    if _width:
        _print(f"\r{' ' * _width}\r")
        _width = 0


def _print(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(text, end="", file=sys.stderr, flush=True)


class Filtered:
    """Standard error without tracebacks of users' errors and of runs that are given up: workers print all they meet."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._muted, self._dropped = stream, False, False

    def write(self, text: str) -> int:
        """Writes text that was not said elsewhere."""
        dropped, self._dropped = self._dropped, _is_traceback_to_drop(text)
        if not (self._muted or self._dropped or (dropped and text == "\n")):
            with contextlib.suppress(OSError, ValueError):  # closed or full: nobody looks
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flushes what was written, if that can be."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def mute(self) -> None:
        """Lets nothing through any more: threads of an engine may go on while the interpreter ends."""
        self._muted = True
        logging.disable()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
