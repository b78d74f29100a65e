"""What the run of this process and its workers tell each other. Workers in other processes neither see nor say it.

All a DoFn knows comes pickled with the graph, so that a run cannot hand it an object to write to: this is the one place
where they meet. A run clears it before it begins; two runs at once (the server's) add to it, and do not read it.
"""

import threading
from collections import Counter

from pipeline.model.latency import LatencyTracker


class RunState:
    """Facts of one run. `stopping`: set to end its watches, which list their folders once more.

    `cancelled`: set when it is given up, so that what its workers meet from then on is not said.
    """

    def __init__(self) -> None:
        self.stopping, self.cancelled = threading.Event(), threading.Event()
        self.clear()

    def clear(self) -> None:
        """Forgets what an earlier run has left.

        counted: by name of a counter (DirectRunner's counters have only the first bundle of each step). written: of
        how many events each file is, by path. latency: of a stream's events. done, sizes: units of each phase: done so
        far, and in all.
        """
        self.stopping.clear()
        self.cancelled.clear()
        self.counted: Counter[str] = Counter()
        self.written: dict[str, int] = {}
        self.latency = LatencyTracker()
        self.done: Counter[str] = Counter()
        self.sizes: dict[str, int] = {}

    def written_in(self, folder: str, suffix: str) -> dict[str, int]:
        """Of how many events each file of a folder is, by path."""
        written, start = self.written.copy(), f"{folder.rstrip('/')}/"
        return {path: size for path, size in written.items() if path.startswith(start) and path.endswith(suffix)}


run_state = RunState()
"""The one that workers of this process write to."""
