"""Extracts user errors from runner exceptions, and detects jobs that are still running remotely."""

import re
import time
from typing import Any

import grpc
from apache_beam.runners.runner import PipelineState

from pipeline import errors
from pipeline.errors import PipelineError

_CANCEL_SECONDS, _LOOK_SECONDS = 10, 0.1
_ENDED = (PipelineState.DONE, PipelineState.FAILED, PipelineState.CANCELLED, PipelineState.UPDATED)


def user_error(error: Exception) -> PipelineError | None:
    """Returns the error that a transform raised if a runner wrapped it in its own or in a traceback, else None."""
    if isinstance(error, PipelineError):
        message = re.sub(r"\s*\[while running .*\]\s*\Z", "", str(error), flags=re.DOTALL)
        return type(error)(message, *error.args[1:])
    found = re.findall(r"^pipeline\.errors\.(\w+): (.*?)(?: \[while running .*)?$", str(error), flags=re.MULTILINE)
    return getattr(errors, found[-1][0])(found[-1][1]) if found else None


def raise_if_still_running(result: Any, verb: str = "cancel") -> None:
    """Raises PipelineError if a job is still running after the wait for it was interrupted.

    Args:
      result: Beam's, of the job.
      verb: of gcloud; "drain" writes the open hours of a stream, "cancel" drops them.
    """
    if is_running_remotely(result):
        end = f"gcloud dataflow jobs {verb} {result.job_id()}"
        raise PipelineError(f"interrupted; the job goes on: `{end}` with its project and region ends it") from None


def cancel(result: Any) -> None:
    """Cancels a job; raises PipelineError if the engine lets it run on, as Flink's job server does."""
    job = getattr(result, "_job_id", None)
    result.cancel()
    if job is None:
        return
    deadline = time.monotonic() + _CANCEL_SECONDS
    while (state := _state(result)) not in _ENDED:
        if time.monotonic() > deadline:
            raise PipelineError(f"the engine was told to cancel job {job}, which is still {state}: end it there")
        time.sleep(_LOOK_SECONDS)


def _state(result: Any) -> str:
    """Returns the state of a job; one whose engine does not answer has ended with it."""
    try:
        return str(result.state)
    except grpc.RpcError:
        return str(PipelineState.CANCELLED)


def is_running_remotely(result: Any) -> bool:
    """Returns whether a job is still running on Dataflow, with temporary files that it needs."""
    return getattr(result, "has_job", False) and not result.is_in_terminal_state()
