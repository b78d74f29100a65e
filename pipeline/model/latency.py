"""Latency of a stream: the time from the discovery of events until reports count them."""

import threading
import time

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
