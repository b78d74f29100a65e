"""The errors a user can cause. Each message is one line that says where and why."""

from typing import Any


def one_line(error: BaseException) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__


class PipelineError(Exception):
    """Base of all errors that are shown to the user as one line, without a traceback."""


class UsageError(PipelineError):
    """The request itself is wrong (no match for an input, a bad offset, an unwritable output)."""


class OptionError(UsageError):
    """An option is missing or has a bad value. Its name begins the message; the command line puts the dashes before."""


class InputError(PipelineError):
    """A source as a whole cannot be read: an array that breaks off or is not JSON, damaged compression."""


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
