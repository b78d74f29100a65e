"""Extracts user errors from runner exceptions, and detects jobs that are still running remotely."""

import re
import time
from typing import Any

import grpc
from apache_beam.runners.runner import PipelineState

from pipeline import errors
from pipeline.errors import PipelineError

_CANCEL_SECONDS, _POLL_SECONDS = 10, 0.1
_ENDED = (PipelineState.DONE, PipelineState.FAILED, PipelineState.CANCELLED, PipelineState.UPDATED)


def user_error(error: Exception) -> PipelineError | None:
    """Returns the PipelineError that a runner wrapped in its own error or traceback, or None."""
    if isinstance(error, PipelineError):
        message = re.sub(r"\s*\[while running .*\]\s*\Z", "", str(error), flags=re.DOTALL)
        return type(error)(message, *error.args[1:])
    found = re.findall(r"^pipeline\.errors\.(\w+): (.*?)(?: \[while running .*)?$", str(error), flags=re.MULTILINE)
    return getattr(errors, found[-1][0])(found[-1][1]) if found else None


def raise_if_still_running(result: Any, verb: str = "cancel") -> None:
    """Raises PipelineError if a job is still running after an interrupt.

    Args:
      result: Beam's result of the job.
      verb: gcloud's subcommand: "drain" writes the open hours of a stream, "cancel" drops them.
    """
    if is_running_remotely(result):
        command = f"gcloud dataflow jobs {verb} {result.job_id()} (with its project and region)"
        raise PipelineError(f"interrupted; the job is still running. To stop it: {command}") from None


def cancel(result: Any) -> None:
    """Cancels a job; raises PipelineError if it does not end, as with Flink's job server."""
    job = getattr(result, "_job_id", None)
    result.cancel()
    if job is None:
        return
    deadline = time.monotonic() + _CANCEL_SECONDS
    while (state := _state(result)) not in _ENDED:
        if time.monotonic() > deadline:
            raise PipelineError(f"job {job} is still {state} after cancellation; stop it in the runner")
        time.sleep(_POLL_SECONDS)


def _state(result: Any) -> str:
    """Returns the state of a job, CANCELLED if its runner is unreachable."""
    try:
        return str(result.state)
    except grpc.RpcError:
        return str(PipelineState.CANCELLED)


def is_running_remotely(result: Any) -> bool:
    """Returns whether a job is still running on Dataflow and needs its temporary files."""
    return getattr(result, "has_job", False) and not result.is_in_terminal_state()
