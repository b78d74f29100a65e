"""What a stream says while it runs: one line, renewed each second on a terminal, elsewhere a new line each minute."""

import contextlib
import functools
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator

from pipeline.cli.progress import beside
from pipeline.engine import logs
from pipeline.stream.status import Status

LOOK_SECONDS = 1.0
LINE_SECONDS = 60
RATE_SECONDS = 10  # over which a terminal shows events/s: files come in lumps

Look = Callable[[float], Status]  # at a time, Unix seconds


@contextlib.contextmanager
def shown_status(look: Look) -> Iterator[None]:
    """Shows on stderr how far a stream is, while the block runs."""
    live = bool(sys.stderr and sys.stderr.isatty())
    try:
        with beside(functools.partial(follow, look, live)):
            yield
    finally:
        logs.clear_status()


def follow(look: Look, live: bool, wait: Callable[[float], bool], clock: Callable[[], float] = time.time) -> None:
    """Looks once a second and tells, until the wait for the next second says that it is over."""
    every, over = (LOOK_SECONDS, RATE_SECONDS) if live else (LINE_SECONDS, LINE_SECONDS)
    due = clock() + every
    reads = deque([(clock(), 0)])  # records read by then
    while not wait(LOOK_SECONDS):
        now = clock()
        status = look(now)
        reads.append((now, status.read))
        while reads[1][0] <= now - over:
            reads.popleft()
        if now >= due:
            due = now + every
            _tell(describe_status(status, _rate(reads)), live)


def _rate(reads: deque[tuple[float, int]]) -> float:
    (start, before), (end, after) = reads[0], reads[-1]
    return (after - before) / (end - start) if end > start else 0.0


def describe_status(status: Status, rate: float) -> str:
    """The line. rate: records a second."""
    delay = "" if status.delay is None else f", delay {status.delay:.1f} s"
    return f"{rate:.0f} events/s, {status.hours} hours written{delay}, {status.rejected} rejected, {status.late} late"


def _tell(line: str, live: bool) -> None:
    if _has_room():
        (logs.update_status if live else logs.print_line)(line)


def _has_room() -> bool:
    """False where stderr is a pipe that nobody reads, or a terminal that was halted: a write there would wait."""
    try:
        return bool(select.select([], [sys.stderr], [], 0)[1])
    except (OSError, ValueError, AttributeError, TypeError):  # it is closed, or no file: nothing waits there
        return True
