"""What the run of this process and its workers tell each other. Workers in other processes neither see nor say it.

All a DoFn knows comes pickled with the graph, so that a run cannot hand it an object to write to: this is the one place
where they meet. A run clears it before it begins; two runs at once (the server's) add to it, and do not read it.
"""

import threading
from collections import Counter


class LocalRun:
    """Facts of one run. `stopping`: set to end its watches, which list their folders once more."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.clear()

    def clear(self) -> None:
        """Forgets what an earlier run has left.

        counted: by name of a counter (DirectRunner's own counters know but the first bundle of each step). found: what
        the blocks of files that watches have found add up to. written: of how many events each file is, by path.
        held_back: as written, what this run has for files it leaves as they are, since an earlier run's hold more.
        done, sizes: units of each phase that are done, and that there are.
        """
        self.stopping.clear()
        self.counted: Counter[str] = Counter()
        self.found = 0
        self.written: dict[str, int] = {}
        self.held_back: dict[str, int] = {}
        self.done: Counter[str] = Counter()
        self.sizes: dict[str, int] = {}


local_run = LocalRun()
"""The one that workers of this process write to."""
