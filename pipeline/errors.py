"""The errors a user can cause. Each message is one line that says where and why."""

import re
from collections.abc import Callable
from typing import Any

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def one_line(error: BaseException) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def printable(text: str, but: str = "") -> str:
    """A text whose control characters, which would command a terminal, and bytes of no UTF-8 are as `\\x1b`, `\\xe9`.

    but: characters to keep.
    """
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] in but else _escaped(ord(found[0])), text)


def _escaped(code: int) -> str:
    return f"\\x{code & 0xFF:02x}" if code < 0xA0 or 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


class PipelineError(Exception):
    """Base of all errors that are shown to the user as one line, without a traceback."""


class UsageError(PipelineError):
    """The request itself is wrong (no match for an input, a bad offset, an unwritable output)."""


class OptionError(UsageError):
    """An option is missing or has a bad value. Its name begins the message; the command line puts the dashes before."""


class StartOverError(UsageError):
    """A stream cannot continue from what its folder holds, but can start from nothing."""


class ChangedOptionError(OptionError, StartOverError):
    """An option differs from that of the runs that a stream continues."""


class ZoneError(UsageError):
    """A time zone or UTC offset cannot be used, but another value can.

    Args:
      problem: what is wrong with the given value.
      parameter: name of the parameter to use instead, "utc_offset" or "time_zone".
      value: its value.
    """

    def spelled(self, spell: Callable[[str, str], str]) -> UsageError:
        """Returns the error with its advice as the user types it; spell: of a parameter's name and value."""
        problem, parameter, value = self.args
        return UsageError(f"{problem}: use {spell(parameter, value)}")

    def __str__(self) -> str:
        return str(self.spelled("{}={}".format))


class InputError(PipelineError):
    """A source as a whole cannot be read: an array that breaks off or is not JSON, damaged compression."""


class TooLargeError(InputError):
    """A source is larger, after decompression and decoding, than the caller allows."""


class UnreadableError(InputError):
    """A file cannot be opened or read now, or has changed meanwhile; another attempt may succeed."""


class OutputError(PipelineError):
    """An output cannot be written."""


class EventError(PipelineError, ValueError):
    """An object is not an event; the message is the reason."""


class RejectsError(PipelineError):
    """The input has rejects and nobody asked to keep them. args[1]: the Tally, where the engine kept it."""

    @property
    def tally(self) -> Any:
        """The run's Tally, or None: an engine in another process passes on nothing but the message."""
        return self.args[1] if len(self.args) > 1 else None

    def __str__(self) -> str:
        return str(self.args[0])


class MismatchError(PipelineError):
    """The invariant read == counted + rejected does not hold: a defect of this program."""


class StoppedError(PipelineError):
    """The user ended a run before it was through."""
