"""Slots: each a private folder and a graph bound to the files in it, used by one request at a time."""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, TimeoutError  # the latter is Python's own from 3.11 on
from pathlib import Path
from typing import BinaryIO

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

from pipeline.batch.job import Job
from pipeline.batch.run import PreparedJob, run_job
from pipeline.engine.runners import DEFAULT_RUNNER, beam_options
from pipeline.errors import PipelineError
from pipeline.model.tally import Summary
from pipeline.serving.problems import ProblemError
from pipeline.serving.staging import StagedJob, check_staging
from pipeline.storage.files import SIZE_UNKNOWN, InputFile

BODY = "body"
"""What messages call the body, and the name of its file."""

_PATIENCE = 10.0  # seconds that a request waits for a slot
_RETRY_AFTER = "2"


class Slot:
    """Makes the report of the body in its folder. On Beam's embedded engine the graph is built once, here."""

    def __init__(self, folder: Path, beam_arguments: Sequence[str], staging: str | None) -> None:
        folder.mkdir(parents=True)
        self.body, self.report = folder / BODY, folder / "report.csv"
        body, options = InputFile(str(self.body), SIZE_UNKNOWN, BODY), beam_options(beam_arguments)
        job = Job((body,), str(self.report))
        if staging:
            self._run = StagedJob(body, self.report, staging, beam_arguments).run
        elif _is_embedded(options):
            self._run = PreparedJob(job, options).run
            self._rehearse()
        else:
            self._run = lambda: run_job(job, options)

    def _rehearse(self) -> None:
        """Makes a report of nothing: the first run takes 0.1 s, which no request need wait for."""
        with contextlib.suppress(OSError, PipelineError):  # a full disk, for which each request gets its own answer
            self.body.touch()
            self.run()
        self.clear()

    def run(self) -> Summary:
        """Reads the body and writes the report; PipelineError as run_job."""
        return self._run()

    def take_report(self) -> BinaryIO:
        """The report, open; it has no name any more, so the slot can be used again while the report is sent."""
        report = open(self.report, "rb")  # noqa: SIM115
        os.unlink(self.report)
        return report

    def clear(self) -> None:
        """Removes what the last request left."""
        for path in (self.body, self.report):
            path.unlink(missing_ok=True)


def _is_embedded(options: PipelineOptions) -> bool:
    """Whether runs go through this process's own engine, with its default way to run."""
    direct = options.view_as(DirectOptions)
    workers = direct.direct_num_workers == 1 and direct.direct_running_mode == "in_memory"
    return bool(workers and options.view_as(StandardOptions).runner == DEFAULT_RUNNER)


def slot_maker(folder: Path, beam_arguments: Sequence[str], staging: str | None = None) -> Callable[[], Slot]:
    """What makes slots below a folder. staging: a folder in a bucket, for workers that do not see this machine's disk.

    Raises UsageError: an option is unknown to Beam, the runner needs a staging folder, or it cannot be written.
    """
    check_staging(staging, beam_options(beam_arguments), folder)
    numbers = iter(range(10**9))
    return lambda: Slot(folder / f"slot-{next(numbers)}", beam_arguments, staging)


class Slots:
    """Hands out slots, one to a request, first come first served. queue: requests that may wait for one."""

    def __init__(self, queue: int) -> None:
        self._queue = queue
        self._free: list[Slot] = []
        self._waiting: deque[Future[Slot]] = deque()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot now."""
        return len(self._waiting)

    def add(self, slot: Slot) -> None:
        """Puts a slot in, new or used."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set_result(slot)
            else:
                self._free.append(slot)

    @contextlib.contextmanager
    def checkout(self) -> Iterator[Slot]:
        """A slot for one request. Raises ProblemError 503: all are busy, and enough requests wait already."""
        slot = self._take()
        try:
            yield slot
        finally:
            slot.clear()
            self.add(slot)

    def _take(self) -> Slot:
        with self._lock:
            if self._free:
                return self._free.pop()  # the one used last: its files are in the caches
            if len(self._waiting) >= self._queue:
                raise _busy()
            place: Future[Slot] = Future()
            self._waiting.append(place)
        try:
            return place.result(_PATIENCE)
        except TimeoutError:
            return self._leave(place)

    def _leave(self, place: Future[Slot]) -> Slot:
        """Gives up a place in the queue, unless a slot has come just now."""
        with self._lock:
            if place not in self._waiting:
                return place.result()
            self._waiting.remove(place)
        raise _busy()


def _busy() -> ProblemError:
    return ProblemError(503, "all slots are busy", Retry_After=_RETRY_AFTER)
