"""State shared by a run and its workers in this process, among it the latency of a stream.

DoFns are pickled with the graph, so they cannot share an object with the run. A run first clears the state; concurrent
runs (the server's) do not read it. Workers in other processes have their own.
"""

import threading
import time
from collections import Counter

_MAX_WAITING = 1000  # bundles; above this, neighbors are merged: on remote workers nothing reads the latency
_CLOCK_OFFSET = time.time() - time.monotonic()  # seconds from the monotonic clock to Unix time


def steady_time() -> float:
    """Returns Unix seconds by a monotonic clock, which ignores changes of the wall clock."""
    return _CLOCK_OFFSET + time.monotonic()


class LatencyTracker:
    """Measures the time from the discovery of events until reports count them. Thread-safe.

    Times are Unix seconds of one clock.

    Attributes:
      read: number of records decoded.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.read = self._events = 0
        self._waiting: list[tuple[float, int]] = []  # when found; number of events up to and with it
        self._latest: float | None = None

    def add(self, found: float, read: int, events: int) -> None:
        """Adds a decoded bundle.

        Args:
          found: when its first record was found.
          read: number of its records.
          events: number of those that are to be reported.
        """
        with self._lock:
            self.read += read
            self._events += events
            if events:
                self._waiting.append((found, self._events))
            if len(self._waiting) > _MAX_WAITING:
                pairs = zip(self._waiting[::2], self._waiting[1::2], strict=False)
                last = self._waiting[_MAX_WAITING & ~1 :]
                self._waiting = [(min(one[0], two[0]), two[1]) for one, two in pairs] + last

    def max_latency(self, reported: int, now: float) -> float | None:
        """Returns the longest latency in seconds; None without events.

        Takes into account the events that were reported since the last call and those that are still waiting.

        Args:
          reported: number of events in the reports now.
          now: the time.
        """
        with self._lock:
            waiting = [entry for entry in self._waiting if entry[1] > reported]
            done = self._waiting[: len(self._waiting) - len(waiting)]
            self._waiting = waiting
            if done:
                self._latest = now - min(found for found, _ in done)
            delays = [*(now - found for found, _ in waiting), *([] if self._latest is None else [self._latest])]
            return max(0.0, *delays) if delays else None


class RunState:
    """State of one run.

    Attributes:
      stopping: set to drain the run's watches, which list their folders once more.
      cancelled: set when the run is abandoned, so that errors of its workers are no longer logged.
      counted: counters by name (DirectRunner's own contain only the first bundle of each step).
      written: events in each file, by path.
      latency: latency of a stream's events.
      bytes_read: bytes read of all inputs.
    """

    def __init__(self) -> None:
        self.stopping, self.cancelled = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Clears the state of an earlier run."""
        self.stopping.clear()
        self.cancelled.clear()
        self.counted: Counter[str] = Counter()
        self.written: dict[str, int] = {}
        self.latency = LatencyTracker()
        self.bytes_read = 0

    def add_bytes_read(self, count: int) -> None:
        """Adds to bytes_read; thread-safe."""
        with self._lock:
            self.bytes_read += count

    def written_in(self, folder: str, suffix: str) -> dict[str, int]:
        """Returns the events in each file of a folder, by path."""
        written, start = self.written.copy(), f"{folder.rstrip('/')}/"
        return {path: size for path, size in written.items() if path.startswith(start) and path.endswith(suffix)}


run_state = RunState()
"""The state of this process."""
