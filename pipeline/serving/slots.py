"""Slots: each a private folder and a graph bound to the files in it, used by one request at a time."""

import contextlib
import copy
import dataclasses
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, TimeoutError  # the latter is Python's own from 3.11 on
from pathlib import Path
from typing import BinaryIO

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

from pipeline.batch.job import Job
from pipeline.batch.run import PreparedJob, run_job
from pipeline.engine.runners import DEFAULT_RUNNER
from pipeline.errors import PipelineError
from pipeline.model.tally import Summary
from pipeline.serving.bodies import no_room
from pipeline.serving.problems import ProblemError
from pipeline.serving.settings import USUAL_REPORT, ReportSettings
from pipeline.serving.staging import StagedJob, check_staging
from pipeline.storage.files import SIZE_UNKNOWN, InputFile

BODY = "body"
"""What messages call the body, and the name of its file."""

_KEPT = 8  # graphs of a slot, the ones used last: each takes about 1 MiB, and 0.1 s to be made anew
_PATIENCE = 10.0  # seconds that a request waits for a slot
_RETRY_AFTER = "2"


class Slot:
    """Makes the report of the body in its folder. On Beam's embedded engine a graph is built once for equal settings.

    usual: the settings for which that is done here.
    """

    def __init__(self, folder: Path, options: PipelineOptions, staging: str | None, usual: ReportSettings) -> None:
        self._folder = folder
        self.body, self.report = folder / BODY, folder / "report.csv"
        self._options = copy.deepcopy(options)  # Beam writes into them
        self._embedded = _is_embedded(self._options)
        self._prepared: OrderedDict[ReportSettings, PreparedJob] = OrderedDict()
        self._files = (InputFile(str(self.body), SIZE_UNKNOWN, BODY),)
        self._staged = StagedJob(self._files[0], self.report, staging, options) if staging else None
        if not staging and self._embedded:
            self._rehearse(usual)

    def _rehearse(self, settings: ReportSettings) -> None:
        """Makes a report of nothing: the first run takes 0.1 s, which no request need wait for."""
        job = self._prepare(settings)
        with contextlib.suppress(OSError, PipelineError):  # a full disk, for which each request gets its own answer
            self.clear()
            self.body.touch()
            job.run()
        self.clear()

    def run(self, settings: ReportSettings) -> Summary:
        """Reads the body and writes the report; PipelineError as run_job."""
        if self._staged:
            return self._staged.run(settings)
        if self._embedded:
            return self._prepare(settings).run()
        return run_job(self._job(settings), self._options)

    def _job(self, settings: ReportSettings) -> Job:
        return Job(self._files, str(self.report), durable=False, **dataclasses.asdict(settings))

    def is_prepared(self, settings: ReportSettings) -> bool:
        """Whether a report with these settings needs no new graph."""
        return settings in self._prepared

    def _prepare(self, settings: ReportSettings) -> PreparedJob:
        """The graph of the settings; gives back the one that was not used for longest, where there are many."""
        if settings not in self._prepared:
            self._prepared[settings] = PreparedJob(self._job(settings), self._options)
            if len(self._prepared) > _KEPT:
                self._prepared.popitem(last=False)[1].close()
        self._prepared.move_to_end(settings)
        return self._prepared[settings]

    def take_report(self) -> BinaryIO:
        """The report, open; it has no name any more, so the slot can be used again while the report is sent."""
        report = open(self.report, "rb")  # noqa: SIM115
        os.unlink(self.report)
        return report

    def clear(self) -> None:
        """Removes what the last request left; makes the folder where there is none. Raises OSError: that fails."""
        self._folder.mkdir(0o700, parents=True, exist_ok=True)
        for path in (self.body, self.report):
            path.unlink(missing_ok=True)


def _is_embedded(options: PipelineOptions) -> bool:
    """Whether runs go through this process's own engine, with its default way to run."""
    direct = options.view_as(DirectOptions)
    workers = direct.direct_num_workers == 1 and direct.direct_running_mode == "in_memory"
    return bool(workers and options.view_as(StandardOptions).runner == DEFAULT_RUNNER)


def slot_maker(
    folder: Path,
    options: PipelineOptions,
    staging: str | None = None,
    usual: ReportSettings = USUAL_REPORT,
) -> Callable[[], Slot]:
    """What makes slots below a folder. staging: a folder in a bucket, for workers that do not see this machine's disk.

    usual: the settings of most reports. Raises UsageError: the runner needs a staging
    folder, or it cannot be written.
    """
    check_staging(staging, copy.deepcopy(options), folder)
    numbers = iter(range(10**9))
    return lambda: Slot(folder / f"slot-{next(numbers)}", options, staging, usual)


class Slots:
    """Hands out slots, one to a request, first come first served. queue: requests that may wait for one.

    total: slots there are.
    """

    def __init__(self, queue: int) -> None:
        self._queue = queue
        self.total = 0
        self._free: list[Slot] = []
        self._waiting: deque[Future[Slot]] = deque()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot now."""
        return len(self._waiting)

    @property
    def busy(self) -> int:
        """Slots that make a report now."""
        return self.total - len(self._free)

    def add(self, slot: Slot) -> None:
        """Puts a new slot in."""
        with self._lock:
            self.total += 1
        self._give_back(slot)

    def _give_back(self, slot: Slot) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set_result(slot)
            else:
                self._free.append(slot)

    @contextlib.contextmanager
    def checkout(self, settings: ReportSettings) -> Iterator[Slot]:
        """A slot for one request, prepared for its settings if one of the free ones is.

        Raises ProblemError 503: all are busy, and enough requests wait already.
        """
        slot = self._take(settings)
        try:
            _clear(slot)
            yield slot
        finally:
            with contextlib.suppress(ProblemError):  # the next request may be luckier
                _clear(slot)
            self._give_back(slot)

    def _take(self, settings: ReportSettings) -> Slot:
        with self._lock:
            if self._free:
                last_first = range(len(self._free) - 1, -1, -1)  # of the one used last the files are in the caches
                return self._free.pop(next((k for k in last_first if self._free[k].is_prepared(settings)), -1))
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


def _clear(slot: Slot) -> None:
    try:
        slot.clear()
    except OSError as error:
        raise no_room(error) from None


def _busy() -> ProblemError:
    return ProblemError(503, "all slots are busy", Retry_After=_RETRY_AFTER)
