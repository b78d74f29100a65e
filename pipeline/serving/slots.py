"""Slots: each a private folder and a graph bound to the files in it, used by one request at a time."""

import contextlib
import copy
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

from pipeline.batch.job import Job
from pipeline.batch.run import PreparedJob, run_job
from pipeline.engine.runners import DEFAULT_RUNNER
from pipeline.errors import PipelineError
from pipeline.model.settings import DEFAULT_REPORT, ReportSettings
from pipeline.model.tally import Summary
from pipeline.serving.bodies import no_room
from pipeline.serving.problems import ProblemError
from pipeline.serving.staging import StagedJob, check_staging
from pipeline.storage.files import SIZE_UNKNOWN, InputFile

BODY = "body"
"""What messages call the body, and the name of its file."""

_SMALL_REPORT = 64 * 1024
"""Bytes up to which a report goes out in one piece with its head; others are read as the client takes them."""

_KEPT = 8  # graphs of a slot, the ones used last: each takes about 1 MiB, and 0.1 s to be made anew


class Slot:
    """Makes the report of the body in its folder. With Beam's embedded runner equal settings share a graph.

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
        """Makes a report of an empty body, since a first run takes 0.1 s more, which no request should wait for."""
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
        return Job(self._files, str(self.report), settings, durable=False)

    def is_prepared(self, settings: ReportSettings) -> bool:
        """Whether a report with these settings needs no new graph."""
        return settings in self._prepared

    def _prepare(self, settings: ReportSettings) -> PreparedJob:
        """The graph for the settings. Beyond _KEPT graphs the one unused for longest is dropped."""
        if settings not in self._prepared:
            self._prepared[settings] = PreparedJob(self._job(settings), self._options)
            if len(self._prepared) > _KEPT:
                self._prepared.popitem(last=False)[1].close()
        self._prepared.move_to_end(settings)
        return self._prepared[settings]

    def take_report(self) -> tuple[BinaryIO | bytes, int]:
        """The report, as bytes if small, else as an open file; and its size. The slot is free while it is sent."""
        report = open(self.report, "rb")  # noqa: SIM115
        os.unlink(self.report)
        size = os.fstat(report.fileno()).st_size
        if size > _SMALL_REPORT:
            return report, size
        with report:
            return report.read(), size

    def clear(self) -> None:
        """Removes what the last request left; makes the folder where there is none. Raises OSError: that fails."""
        try:
            left = os.listdir(self._folder)
        except FileNotFoundError:
            self._folder.mkdir(0o700, parents=True)
            return
        for name in left:
            os.unlink(self._folder / name)


def _is_embedded(options: PipelineOptions) -> bool:
    """Whether jobs run in this process, on Beam's embedded runner with its default mode."""
    direct = options.view_as(DirectOptions)
    workers = direct.direct_num_workers == 1 and direct.direct_running_mode == "in_memory"
    return bool(workers and options.view_as(StandardOptions).runner == DEFAULT_RUNNER)


def slot_maker(
    folder: Path,
    options: PipelineOptions,
    staging: str | None = None,
    usual: ReportSettings = DEFAULT_REPORT,
) -> Callable[[], Slot]:
    """A function that makes slots below a folder. staging: a folder in a bucket, for workers that do not see this disk.

    usual: the settings for which graphs are built at once. Raises UsageError: the runner needs a staging folder, or
    that cannot be written to.
    """
    check_staging(staging, copy.deepcopy(options), folder)
    numbers = iter(range(10**9))
    return lambda: Slot(folder / f"slot-{next(numbers)}", options, staging, usual)


class Slots:
    """Hands out slots, one to a request.

    total: slots there are. on_added: called when there is one more.
    """

    def __init__(self) -> None:
        self.on_added: Callable[[], None] = lambda: None
        self.total = 0
        self._free: list[Slot] = []
        self._lock = threading.Lock()

    @property
    def free(self) -> int:
        """How many slots make no report now."""
        return len(self._free)

    @property
    def busy(self) -> int:
        """How many slots make a report now."""
        return self.total - len(self._free)

    def add(self, slot: Slot) -> None:
        """Adds a new slot."""
        with self._lock:
            self.total += 1
            self._free.append(slot)
        self.on_added()

    @contextlib.contextmanager
    def checkout(self, settings: ReportSettings) -> Iterator[Slot]:
        """A slot for one request, prepared for its settings if one of the free ones is. ProblemError: all are busy."""
        slot = self._take(settings)
        try:
            _clear(slot)
            yield slot
        finally:
            with contextlib.suppress(ProblemError):  # the next request may be luckier
                _clear(slot)
            with self._lock:
                self._free.append(slot)

    def _take(self, settings: ReportSettings) -> Slot:
        with self._lock:
            if not self._free:
                raise all_busy()
            last_first = range(len(self._free) - 1, -1, -1)  # of the one used last the files are in the caches
            return self._free.pop(next((k for k in last_first if self._free[k].is_prepared(settings)), -1))


def all_busy() -> ProblemError:
    """The problem (503) of a request for which there is no slot now."""
    return ProblemError(503, "all slots are busy", Retry_After="2")


def _clear(slot: Slot) -> None:
    try:
        slot.clear()
    except OSError as error:
        raise no_room(error) from None
