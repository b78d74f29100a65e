"""Signals that end a run as Ctrl-C does, with its temporary files removed: SIGINT, SIGTERM and SIGHUP."""

import os
import signal
import threading
from typing import NoReturn

_MESSAGES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}

_EXIT_SECONDS = 5

_received: list[signal.Signals] = []


class SignalledError(KeyboardInterrupt):
    """A signal was received. It has a message, since Beam turns what a DoFn raises without one into RuntimeError."""


def handle_signals() -> None:
    """Has signals raise SignalledError, but for those that are ignored, as under nohup or in a shell's background."""
    for number in _MESSAGES:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _raise)


def _raise(number: int, _: object) -> NoReturn:
    _received.append(signal.Signals(number))
    raise SignalledError(_MESSAGES[_received[-1]])


def raise_received() -> None:
    """Raises SignalledError if a signal was received, also where what it raised was caught or wrapped meanwhile."""
    if _received:
        raise SignalledError(_MESSAGES[_received[-1]])


def is_received() -> bool:
    """Returns whether a signal was received."""
    return bool(_received)


def exit_soon(status: int) -> None:
    """Ends the process in _EXIT_SECONDS, if the interpreter has not ended by then.

    It waits for all threads, and one may wait forever for a lock that the main thread held when the signal came, as in
    1 of some 100 runs.
    """
    timer = threading.Timer(_EXIT_SECONDS, os._exit, (status,))
    timer.daemon = True
    timer.start()


def status_and_message(error: KeyboardInterrupt) -> tuple[int, str]:
    """Returns the exit code, 128 + the signal's number as shells have it, and what ended the run."""
    number = _received[-1] if isinstance(error, SignalledError) else signal.SIGINT
    return 128 + number, _MESSAGES[number]
