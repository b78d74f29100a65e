"""Output on stderr: warnings of one line, a status line, a progress bar, no tracebacks of user errors."""

import contextlib
import logging
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from pipeline.engine.run_state import run_state
from pipeline.errors import PipelineError, printable

_REPORTED_ELSEWHERE = (
    "apitools not found",
    "Error in _start_upload while inserting file",  # S3
    "HTTP error while requesting file",
    "Prism received bundle error",  # the run fails with the same error
    "stage.Execute aborting due to bundle error",
    "Failed to read inputs in the data plane",  # the runner exited, so the run fails
)
_REPORTED_BY_RUN = re.compile(
    r"pipeline\.errors\.\w+: |\.GetProcessBundleDescriptor\(|RpcError of RPC .*\s+status = StatusCode\.UNAVAILABLE"
)
"""Tracebacks of user errors, and of workers that ask for work after the runner ended the job or exited."""

_REFRESH_SECONDS = 0.2
_DELAY_SECONDS = 2.0  # shorter runs show no progress bar
_width = 0  # of the status line


def configure() -> None:
    """Sets up logging, and opens closed standard streams.

    To be called before importing Beam, which warns about missing extras.
    """
    _open_missing()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", force=True)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_visible)
    logging.getLogger("apache_beam.utils.subprocess_server").setLevel(logging.ERROR)  # warns of each start of Prism
    threading.excepthook = _log_thread


def _open_missing() -> None:
    """Opens /dev/null for closed standard streams, as under cron.

    Otherwise the next opened file would get their descriptor, and messages for stderr.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115


def _is_visible(record: logging.LogRecord) -> bool:
    """Filters messages that are reported elsewhere, such as user errors, which Beam also logs with a traceback."""
    if record.name == "PrismRunner" and record.levelno < logging.ERROR:
        return False
    error = record.exc_info[1] if record.exc_info else None
    message = record.getMessage()
    is_user_error = isinstance(error, (PipelineError, KeyboardInterrupt))
    is_user_error = is_user_error or _is_dropped(message) or _is_dropped(str(error))
    is_cancelled = bool(error) and run_state.cancelled.is_set()
    if is_user_error or is_cancelled or message.startswith(_REPORTED_ELSEWHERE):
        return False
    clear_status()
    return True


def _is_dropped(text: str) -> bool:
    """Whether a text contains a traceback of a user error or of a lost runner, or any traceback of a cancelled run."""
    is_reported = run_state.cancelled.is_set() or _REPORTED_BY_RUN.search(text)
    return "Traceback (most recent call last)" in text and bool(is_reported)


def _log_thread(failure: threading.ExceptHookArgs) -> None:
    """Logs errors of threads at level DEBUG: Beam's fail when the runner exits, which the run reports."""
    logging.getLogger(__name__).debug("a thread failed", exc_info=failure.exc_value)


def print_line(text: str) -> None:
    """Prints a line on stderr; ignores a closed or full stream."""
    clear_status()
    _print(printable(text, keep="\n") + "\n")


def plural(count: int, noun: str) -> str:
    """Returns a count and its noun, such as "1 hour" or "2 hours"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def update_status(text: str) -> None:
    """Replaces the status line on a terminal."""
    global _width
    text = printable(text)[: shutil.get_terminal_size().columns - 1]
    before, _width = _width, len(text)
    _print(f"\r{text.ljust(before)}")


def clear_status() -> None:
    """Removes the status line."""
    global _width
    if _width:
        _print(f"\r{' ' * _width}\r")
        _width = 0


def _print(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(text, end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress_bar(total: int) -> Iterator[None]:
    """Shows a progress bar during the block, if stderr is a terminal. total: bytes of all inputs.

    Workers in other processes are not seen.
    """
    if not sys.stderr or not sys.stderr.isatty():
        yield
        return
    run_state.clear()

    def follow(wait: Callable[[float], bool]) -> None:
        from tqdm import tqdm

        with tqdm(total=total, desc="reading", unit="B", unit_scale=True, delay=_DELAY_SECONDS, leave=False) as bar:
            while not wait(_REFRESH_SECONDS):
                bar.update(run_state.bytes_read - bar.n)

    with in_background(follow):
        yield


@contextlib.contextmanager
def in_background(work: Callable[[Callable[[float], bool]], None]) -> Iterator[None]:
    """Runs `work` in a thread during the block.

    Args:
      work: takes a function that waits for some seconds and returns whether the block has ended.
    """
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop.wait,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Filtered:
    """Filters tracebacks of user errors and cancelled runs, printed by workers, from stderr."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._muted, self._dropped = stream, False, False

    def write(self, text: str) -> int:
        dropped, self._dropped = self._dropped, _is_dropped(text)
        if not (self._muted or self._dropped or (dropped and text == "\n")):
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def mute(self) -> None:
        """Drops all further text: a runner's threads may still run while the interpreter exits."""
        self._muted = True
        logging.disable()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
