"""What a stream has done so far, in plain numbers: one whose workers are threads of this process."""

from typing import NamedTuple

from pipeline.engine.run_state import run_state
from pipeline.stream.job import StreamJob


class Status(NamedTuple):
    """Progress of a stream.

    Attributes:
      read: records, by this run.
      hours: reports written.
      rejected, late: records.
      delay: as LatencyTracker has it.
    """

    read: int
    hours: int
    rejected: int
    late: int
    delay: float | None


def look(job: StreamJob, now: float) -> Status:
    """How far the job's run in this process is; now: steady_time."""
    reports, counts, found = run_state.written_in(job.output, ".csv"), run_state.counted, run_state.latency
    delay = found.delay(sum(reports.values()) + counts["duplicate"], now)
    return Status(found.read, len(reports), counts["rejected"], counts["late"], delay)
