"""What a stream has done so far, in plain numbers: one whose workers are threads of this process."""

from typing import NamedTuple

from pipeline.engine.local_run import local_run
from pipeline.stream.job import StreamJob


class Status(NamedTuple):
    """read: records, by this run. hours: reports written. rejected, late: records. delay: as Arrivals has it."""

    read: int
    hours: int
    rejected: int
    late: int
    delay: float | None


def look(job: StreamJob, now: float) -> Status:
    """How far the job's run in this process is. now: Unix seconds."""
    reports, counts, came = local_run.written_in(job.output, ".csv"), local_run.counted.copy(), local_run.arrivals
    delay = came.delay(sum(reports.values()) + counts["duplicate"], now)
    return Status(came.read, len(reports), counts["rejected"], counts["late"], delay)
