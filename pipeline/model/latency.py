"""When the events of a stream were found, and how long it takes until its reports hold them."""

import threading
import time

_MOST = 1000  # bundles that are remembered one by one: in a worker elsewhere nobody asks for them
_START = time.time() - time.monotonic()


def steady_time() -> float:
    """Unix seconds by a clock that passes steadily, whatever happens to the machine's wall clock meanwhile."""
    return _START + time.monotonic()


class LatencyTracker:
    """Measures from when events were found until reports hold them; for the threads of one process.

    Times are Unix seconds, of one clock.

    Attributes:
      read: records that were decoded.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.read = self._events = 0
        self._waiting: list[tuple[float, int]] = []  # when found; the events that had come with it
        self._latest: float | None = None

    def add(self, found: float, read: int, events: int) -> None:
        """Adds a decoded bundle.

        Args:
          found: when the first of it was found.
          read: its records.
          events: how many of them are to be reported.
        """
        with self._lock:
            self.read += read
            self._events += events
            if events:
                self._waiting.append((found, self._events))
            if len(self._waiting) > _MOST:
                pairs = zip(self._waiting[::2], self._waiting[1::2], strict=False)
                self._waiting = [(min(one[0], two[0]), two[1]) for one, two in pairs] + self._waiting[_MOST & ~1 :]

    def delay(self, held: int, now: float) -> float | None:
        """Returns the seconds from when events were found until the reports held as many as had come with them.

        That is the longest for the events that the reports hold since the last call; or for those that they do not
        hold yet, if that is longer already.

        Args:
          held: events in the reports now.
          now: the time.

        Returns:
          None if no event came.
        """
        with self._lock:
            waiting = [entry for entry in self._waiting if entry[1] > held]
            done = self._waiting[: len(self._waiting) - len(waiting)]
            self._waiting = waiting
            if done:
                self._latest = now - min(found for found, _ in done)
            delays = [*(now - found for found, _ in waiting), *([] if self._latest is None else [self._latest])]
            return max(0.0, *delays) if delays else None
