"""Progress bar of a run on a terminal. Workers in other processes are not seen."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator

from pipeline.engine.run_state import run_state

_REFRESH_SECONDS = 0.2
_DELAY_SECONDS = 2.0  # shorter runs show no bar


@contextlib.contextmanager
def progress_bar(total: int) -> Iterator[None]:
    """Shows a progress bar during the block, if stderr is a terminal. total: bytes of all inputs."""
    if not sys.stderr or not sys.stderr.isatty():
        yield
        return
    run_state.clear()

    def follow(wait: Callable[[float], bool]) -> None:
        from tqdm import tqdm

        with tqdm(total=total, desc="reading", unit="B", unit_scale=True, delay=_DELAY_SECONDS, leave=False) as bar:
            while not wait(_REFRESH_SECONDS):
                bar.update(run_state.bytes_read - bar.n)

    with in_background(follow):
        yield


@contextlib.contextmanager
def in_background(work: Callable[[Callable[[float], bool]], None]) -> Iterator[None]:
    """Runs `work` in a thread during the block.

    Args:
      work: takes a function that waits for some seconds and returns whether the block has ended.
    """
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop.wait,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
