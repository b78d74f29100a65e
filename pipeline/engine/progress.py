"""Progress of a run inside this process: what each phase has done, and a bar for one after the other on a terminal.

Workers in other processes are not seen.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.engine.run_state import run_state

_REFRESH_SECONDS = 0.2
_DELAY_SECONDS = 2.0  # shorter runs show no bar

READING = "reading"
MERGING = "merging ids"
WRITING = "writing"
_UNITS = {READING: "B", MERGING: " parts", WRITING: "B"}  # phases in their order

_lock = threading.Lock()


def add(phase: str, count: int, total: int | None = None) -> None:
    """Called by those who work: count more units of a phase are done. total: units of the phase, where known now."""
    with _lock:
        run_state.done[phase] += count
        if total is not None:
            run_state.sizes[phase] = total


@contextlib.contextmanager
def progress_bar(total: int) -> Iterator[None]:
    """Shows bars on stderr while the block runs, if that is a terminal. total: bytes of all inputs."""
    if not sys.stderr or not sys.stderr.isatty():
        yield
        return
    run_state.clear()
    run_state.sizes[READING] = total
    with beside(_follow):
        yield


@contextlib.contextmanager
def beside(work: Callable[[Callable[[float], bool]], None]) -> Iterator[None]:
    """Does work in a thread while the block runs. It gets a wait for some seconds, which says if that is over."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop.wait,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _follow(wait: Callable[[float], bool]) -> None:
    from tqdm import tqdm

    start = time.monotonic()
    phase, bar = "", None
    while not wait(_REFRESH_SECONDS):
        now, done, total = _current()
        if now != phase:
            _close(bar)
            delay = max(0.0, _DELAY_SECONDS - (time.monotonic() - start))
            phase, bar = now, tqdm(total=total, desc=now, unit=_UNITS[now], unit_scale=True, delay=delay, leave=False)
        if bar is not None:
            bar.update(done - bar.n)
    _close(bar)


def _current() -> tuple[str, int, int | None]:
    """The latest phase that has begun: its name, what of it is done, its total."""
    with _lock:
        phase = next((phase for phase in reversed(_UNITS) if run_state.done[phase]), READING)
        return phase, run_state.done[phase], run_state.sizes.get(phase)


def _close(bar: Any) -> None:
    if bar is not None:
        bar.close()
