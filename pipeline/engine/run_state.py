"""State shared by a run and its workers in this process. Workers in other processes have their own.

DoFns are pickled with the graph, so they cannot share an object with the run. A run first clears the state; concurrent
runs (the server's) do not read it.
"""

import threading
from collections import Counter

from pipeline.model.latency import LatencyTracker


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
