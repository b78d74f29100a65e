"""Progress of a run inside this process: a count of bytes read, and a bar on a terminal."""

import contextlib
import sys
import threading
from collections.abc import Iterator

_REFRESH_SECONDS = 0.2
_DELAY_SECONDS = 2.0  # shorter runs show no bar

_lock = threading.Lock()
_bytes_read = 0


def add_bytes(count: int) -> None:
    """Called by readers: count more bytes of input were read. Workers in other processes are not seen."""
    global _bytes_read
    with _lock:
        _bytes_read += count


@contextlib.contextmanager
def shown(total: int) -> Iterator[None]:
    """Shows a bar on stderr while the block runs, if that is a terminal. total: bytes of all inputs."""
    if not sys.stderr or not sys.stderr.isatty():
        yield
        return
    from tqdm import tqdm

    stop = threading.Event()
    start = _bytes_read
    bar = tqdm(total=total, unit="B", unit_scale=True, delay=_DELAY_SECONDS, leave=False)

    def follow() -> None:
        while not stop.wait(_REFRESH_SECONDS):
            bar.update(_bytes_read - start - bar.n)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        bar.close()
