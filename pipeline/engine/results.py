"""How a run ended: users' errors out of those of runners, and jobs that go on elsewhere."""

import re
from typing import Any

from pipeline import errors
from pipeline.errors import PipelineError


def user_error(error: Exception) -> PipelineError | None:
    """The error of a transform as it was raised, where a runner wrapped it in its own or in a worker's traceback."""
    if isinstance(error, PipelineError):
        message = re.sub(r"\s*\[while running .*\]\s*\Z", "", str(error), flags=re.DOTALL)
        return type(error)(message, *error.args[1:])
    found = re.findall(r"^pipeline\.errors\.(\w+): (.*?)(?: \[while running .*)?$", str(error), flags=re.MULTILINE)
    return getattr(errors, found[-1][0])(found[-1][1]) if found else None


def tell_if_it_goes_on(result: Any) -> None:
    """PipelineError where what was interrupted was the waiting, not the job; says how to end that."""
    if goes_on(result):
        end = f"gcloud dataflow jobs cancel {result.job_id()}"
        raise PipelineError(f"interrupted; the job goes on: `{end}` with its project and region ends it") from None


def goes_on(result: Any) -> bool:
    """Whether a job runs on elsewhere (on Dataflow), with temporary files that it needs."""
    return getattr(result, "has_job", False) and not result.is_in_terminal_state()
