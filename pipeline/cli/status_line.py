"""Status line of a stream: updated every second on a terminal, otherwise printed every minute."""

import contextlib
import functools
import select
import sys
from collections import deque
from collections.abc import Callable, Iterator

from pipeline.engine import logs
from pipeline.engine.run_state import run_state, steady_time
from pipeline.stream import StreamJob

POLL_SECONDS = 1.0
LINE_SECONDS = 60
RATE_SECONDS = 10  # window of events/s on a terminal, since files arrive in bursts


def read_status(job: StreamJob, now: float) -> tuple[int, str]:
    """Returns the number of records that this run read, and the rest of the status; now: steady_time."""
    reports, counts, latency = run_state.written_in(job.output, ".csv"), run_state.counted, run_state.latency
    seconds = latency.max_latency(sum(reports.values()) + counts["duplicate"], now)
    delay = "" if seconds is None else f", delay {seconds:.1f} s"
    written = f"{logs.plural(len(reports), 'hour')} written{delay}"
    return latency.read, f"{written}, {counts['rejected']} rejected, {counts['late']} late"


@contextlib.contextmanager
def shown_status(read: Callable[[float], tuple[int, str]]) -> Iterator[None]:
    """Shows the progress of a stream on stderr during the block; read: read_status of its job."""
    live = bool(sys.stderr and sys.stderr.isatty())
    try:
        with logs.in_background(functools.partial(follow, read, live)):
            yield
    finally:
        logs.clear_status()


def follow(
    read: Callable[[float], tuple[int, str]],
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
        count, rest = read(now)
        reads.append((now, count))
        while reads[1][0] <= now - over:
            reads.popleft()
        if now >= due:
            due = now + every
            _print(f"{_rate(reads):.0f} events/s, {rest}", live)


def _rate(reads: deque[tuple[float, int]]) -> float:
    (start, before), (end, after) = reads[0], reads[-1]
    return (after - before) / (end - start) if end > start else 0.0


def _print(line: str, live: bool) -> None:
    if _has_room():
        (logs.update_status if live else logs.print_line)(line)


def _has_room() -> bool:
    """False if a write to stderr would block: a pipe without a reader, or a stopped terminal."""
    try:
        return bool(select.select([], [sys.stderr], [], 0)[1])
    except (OSError, ValueError, AttributeError, TypeError):  # closed, or not a file
        return True
