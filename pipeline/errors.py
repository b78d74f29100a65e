"""Errors that a user can cause. Each message is one line with the place and the reason."""

import re
from collections.abc import Callable
from typing import Any

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def one_line(error: BaseException) -> str:
    """Returns an error's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def printable(text: str, keep: str = "") -> str:
    """Escapes control characters, which a terminal would interpret, and undecodable bytes as `\\x1b`, `\\xe9`.

    keep: characters that are not escaped.
    """
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] in keep else _escaped(ord(found[0])), text)


def _escaped(code: int) -> str:
    return f"\\x{code & 0xFF:02x}" if code < 0xA0 or 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


class PipelineError(Exception):
    """Base of all errors that are shown to the user as one line, without a traceback."""


class UsageError(PipelineError):
    """The request itself is invalid (no match for an input, a bad offset, an unwritable output)."""


class OptionError(UsageError):
    """An option is missing or invalid. The message begins with its name, to which the command line adds the dashes."""


class StartOverError(UsageError):
    """A stream cannot resume from its output folder, but can start over."""


class ChangedOptionError(OptionError, StartOverError):
    """An option differs from that of the earlier runs of a stream."""


class ZoneError(UsageError):
    """A time zone or UTC offset is invalid, and the message suggests another value.

    Args:
      problem: why the given value is invalid.
      parameter: name of the parameter to use instead, "utc_offset" or "time_zone".
      value: its value.
    """

    def spelled(self, spell: Callable[[str, str], str]) -> UsageError:
        """Returns the error with a suggestion as the user types it; spell: formats a parameter's name and value."""
        problem, parameter, value = self.args
        return UsageError(f"{problem}: use {spell(parameter, value)}")

    def __str__(self) -> str:
        return str(self.spelled("{}={}".format))


class InputError(PipelineError):
    """A source as a whole cannot be read: an array that is truncated or not JSON, damaged compression."""


class TooLargeError(InputError):
    """A source is larger, after decompression and decoding, than the caller allows."""


class TransientReadError(InputError):
    """A file cannot be opened or read now, or was modified meanwhile; a retry may succeed."""


class OutputError(PipelineError):
    """An output cannot be written."""


class EventError(PipelineError, ValueError):
    """A record is not a valid event; the message is the reason."""


class RejectsError(PipelineError):
    """The input has rejects, which the job does not accept. args[1]: the Tally, if the runner passed it on."""

    @property
    def tally(self) -> Any:
        """The run's Tally, or None: a runner in another process passes on only the message."""
        return self.args[1] if len(self.args) > 1 else None

    def __str__(self) -> str:
        return str(self.args[0])


class MismatchError(PipelineError):
    """The invariant read == counted + rejected is violated: a defect of this program."""


class StoppedError(PipelineError):
    """The user interrupted a run."""
