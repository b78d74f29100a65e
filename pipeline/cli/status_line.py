"""Status line of a stream: updated every second on a terminal, otherwise printed every minute."""

import contextlib
import functools
import select
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pipeline.engine import logs
from pipeline.engine.run_state import run_state
from pipeline.model.latency import steady_time
from pipeline.stream.job import StreamJob

POLL_SECONDS = 1.0
LINE_SECONDS = 60
RATE_SECONDS = 10  # window of events/s on a terminal, since files arrive in bursts


class Status(NamedTuple):
    """Progress of a stream whose workers are threads of this process.

    Attributes:
      read: records read by this run.
      hours: reports written.
      rejected, late: records.
      delay: from LatencyTracker, seconds or None.
    """

    read: int
    hours: int
    rejected: int
    late: int
    delay: float | None


def read_status(job: StreamJob, now: float) -> Status:
    """Reads the progress of the job; now: steady_time."""
    reports, counts, latency = run_state.written_in(job.output, ".csv"), run_state.counted, run_state.latency
    delay = latency.max_latency(sum(reports.values()) + counts["duplicate"], now)
    return Status(latency.read, len(reports), counts["rejected"], counts["late"], delay)


@contextlib.contextmanager
def shown_status(read: Callable[[float], Status]) -> Iterator[None]:
    """Shows the progress of a stream on stderr during the block; read: takes steady_time."""
    live = bool(sys.stderr and sys.stderr.isatty())
    try:
        with logs.in_background(functools.partial(follow, read, live)):
            yield
    finally:
        logs.clear_status()


def follow(
    read: Callable[[float], Status],
    live: bool,
    wait: Callable[[float], bool],
    clock: Callable[[], float] = steady_time,
) -> None:
    """Prints the status until a wait for the next second returns True."""
    every, over = (POLL_SECONDS, RATE_SECONDS) if live else (LINE_SECONDS, LINE_SECONDS)
    due = clock() + every
    reads = deque([(clock(), 0)])  # records read by then
    while not wait(POLL_SECONDS):
        now = clock()
        status = read(now)
        reads.append((now, status.read))
        while reads[1][0] <= now - over:
            reads.popleft()
        if now >= due:
            due = now + every
            _print(describe_status(status, _rate(reads)), live)


def _rate(reads: deque[tuple[float, int]]) -> float:
    (start, before), (end, after) = reads[0], reads[-1]
    return (after - before) / (end - start) if end > start else 0.0


def describe_status(status: Status, rate: float) -> str:
    """Returns the status line. rate: records per second."""
    delay = "" if status.delay is None else f", delay {status.delay:.1f} s"
    written = f"{logs.plural(status.hours, 'hour')} written{delay}"
    return f"{rate:.0f} events/s, {written}, {status.rejected} rejected, {status.late} late"


def _print(line: str, live: bool) -> None:
    if _has_room():
        (logs.update_status if live else logs.print_line)(line)


def _has_room() -> bool:
    """False if a write to stderr would block: a pipe without a reader, or a stopped terminal."""
    try:
        return bool(select.select([], [sys.stderr], [], 0)[1])
    except (OSError, ValueError, AttributeError, TypeError):  # closed, or not a file
        return True
