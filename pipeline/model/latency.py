"""When the events of a stream were found, and how long it takes until its reports hold them."""

import threading

_MOST = 1000  # bundles that are remembered one by one: in a worker elsewhere nobody asks for them


class Arrivals:
    """What was found when. Times are Unix seconds; for the threads of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.read = self._events = 0
        self._waiting: list[tuple[float, int]] = []  # when found; the events that had come with it
        self._latest: float | None = None

    def add(self, found: float, read: int, events: int) -> None:
        """A bundle was decoded, the first of it found then: records, and how many of them are to be reported."""
        with self._lock:
            self.read += read
            self._events += events
            if events:
                self._waiting.append((found, self._events))
            if len(self._waiting) > _MOST:
                pairs = zip(self._waiting[::2], self._waiting[1::2], strict=False)
                self._waiting = [(min(one[0], two[0]), two[1]) for one, two in pairs] + self._waiting[_MOST & ~1 :]

    def delay(self, held: int, now: float) -> float | None:
        """Seconds from when events were found until the reports held as many as had come with them; None: none came.

        Of those that the reports hold since this was asked before, the longest; or of those that they do not hold yet,
        if that is longer already. held: events in the reports now.
        """
        with self._lock:
            waiting = [entry for entry in self._waiting if entry[1] > held]
            done = self._waiting[: len(self._waiting) - len(waiting)]
            self._waiting = waiting
            if done:
                self._latest = now - min(found for found, _ in done)
            delays = [*(now - found for found, _ in waiting), *([] if self._latest is None else [self._latest])]
            return max(0.0, *delays) if delays else None
