"""SIGINT, SIGTERM and SIGHUP stop a run like Ctrl-C: its temporary files are removed."""

import os
import signal
import threading
from typing import NoReturn

_MESSAGES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}

_EXIT_SECONDS = 5

_received: list[signal.Signals] = []


class SignalledError(KeyboardInterrupt):
    """A signal was received. Has a message, since Beam converts errors without one to RuntimeError."""


def handle_signals() -> None:
    """Makes signals raise SignalledError, unless they are ignored, as under nohup or in a shell's background."""
    for number in _MESSAGES:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _raise)


def _raise(number: int, _: object) -> NoReturn:
    _received.append(signal.Signals(number))
    raise SignalledError(_MESSAGES[_received[-1]])


def raise_received() -> None:
    """Raises SignalledError if a signal was received, even if the first one was caught or wrapped."""
    if _received:
        raise SignalledError(_MESSAGES[_received[-1]])


def is_received() -> bool:
    """Returns whether a signal was received."""
    return bool(_received)


def exit_soon(status: int) -> None:
    """Exits the process in _EXIT_SECONDS if the interpreter is still running.

    It waits for all threads, one of which may deadlock on a lock held by the main thread at the signal, in about 1 of
    100 runs.
    """
    timer = threading.Timer(_EXIT_SECONDS, os._exit, (status,))
    timer.daemon = True
    timer.start()


def status_and_message(error: KeyboardInterrupt) -> tuple[int, str]:
    """Returns the exit status, 128 + the signal's number as in shells, and the message."""
    number = _received[-1] if isinstance(error, SignalledError) else signal.SIGINT
    return 128 + number, _MESSAGES[number]
