"""Workspaces: a folder, and Beam graphs bound to its files, used by one request at a time."""

import contextlib
import copy
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import BinaryIO

from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.batch.graph import Job
from pipeline.batch.run import PreparedJob, run_job
from pipeline.engine.runners import is_embedded
from pipeline.errors import PipelineError
from pipeline.model.settings import ReportSettings
from pipeline.model.tally import Summary
from pipeline.serving import Settings
from pipeline.serving.problems import ProblemError
from pipeline.serving.staging import StagedJob
from pipeline.serving.telemetry import Metrics
from pipeline.storage.files import SIZE_UNKNOWN, InputFile

BODY = "body"
"""Display name and file name of the request body."""

_MAX_INLINE_BYTES = 64 * 1024  # larger reports are streamed from their file

_MAX_SKIPPED = 1_000_000  # rejects, several seconds of work; 256 MiB of lines of one character would take ten minutes

_MAX_GRAPHS = 8  # per workspace, least recently used dropped first; each takes about 1 MiB, and 0.1 s to build


class Workspace:
    """Computes the report of a request body. On Beam's embedded runner, graphs are cached by report settings.

    Args:
      folder: folder for the files of a request.
      options: Beam pipeline options.
      settings: settings of the server. The graph of its default report is built now, unless jobs are staged.
    """

    def __init__(self, folder: Path, options: PipelineOptions, settings: Settings) -> None:
        self._folder = folder
        self.body, self.report = folder / BODY, folder / "report.csv"
        self._options = copy.deepcopy(options)  # Beam writes into them
        self._embedded = is_embedded(self._options)
        self._prepared: OrderedDict[ReportSettings, PreparedJob] = OrderedDict()
        self._files = (InputFile(str(self.body), SIZE_UNKNOWN, BODY),)
        self._max_decoded_bytes, staging = settings.max_body_bytes, settings.staging_location
        self._staged = StagedJob(staging, options) if staging else None
        if not staging and self._embedded:
            self._warm_up(settings.report)

    def _warm_up(self, settings: ReportSettings) -> None:
        """Computes the report of an empty body, since the first run takes 0.1 s longer."""
        job = self._prepare(settings)
        with contextlib.suppress(OSError, PipelineError):  # a full disk, which each request reports
            self.clear()
            self.body.touch()
            job.run()
            self.clear()

    def run(self, settings: ReportSettings) -> Summary:
        """Reads the body and writes the report; raises like run_job."""
        if self._staged:
            return self._staged.run(self._job(settings))
        if self._embedded:
            return self._prepare(settings).run()
        return run_job(self._job(settings), self._options)

    def _job(self, settings: ReportSettings) -> Job:
        return Job(
            self._files,
            str(self.report),
            settings,
            max_decoded_bytes=self._max_decoded_bytes,
            max_skipped=_MAX_SKIPPED,
            durable=False,
        )

    def _prepare(self, settings: ReportSettings) -> PreparedJob:
        """Returns the graph for the settings, from the cache if possible."""
        if settings not in self._prepared:
            self._prepared[settings] = PreparedJob(self._job(settings), self._options)
            if len(self._prepared) > _MAX_GRAPHS:
                self._prepared.popitem(last=False)[1].close()
        self._prepared.move_to_end(settings)
        return self._prepared[settings]

    def take_report(self) -> tuple[BinaryIO | bytes, int]:
        """Returns the report, as bytes if small, else as an open file, and its size in bytes; unlinks the file."""
        report = open(self.report, "rb")  # noqa: SIM115
        os.unlink(self.report)
        size = os.fstat(report.fileno()).st_size
        if size > _MAX_INLINE_BYTES:
            return report, size
        with report:
            return report.read(), size

    def clear(self) -> None:
        """Empties the folder, or creates it; raises OSError."""
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            self._folder.mkdir(0o700, parents=True)
            return
        for name in names:
            os.unlink(self._folder / name)


class WorkspacePool:
    """Assigns workspaces to requests, first come, first served.

    Args:
      workspaces: all workspaces.
      queue_timeout: seconds that a request may wait.
      metrics: counts busy workspaces and waiting requests.
    """

    def __init__(self, workspaces: Sequence[Workspace], queue_timeout: float, metrics: Metrics) -> None:
        self._free, self._timeout, self._metrics = list(workspaces), queue_timeout, metrics
        metrics.workspaces.set(len(workspaces))
        self._waiting: deque[Future[Workspace]] = deque()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def acquire(self) -> Iterator[Workspace]:
        """Yields an empty workspace.

        Raises:
          ProblemError: 503, none became free in time.
          OSError: its folder cannot be emptied.
        """
        workspace = self._take()
        try:
            workspace.clear()
            with self._metrics.busy.track_inprogress():
                yield workspace
        finally:
            with contextlib.suppress(OSError):  # the next request tries again
                workspace.clear()
            self._release(workspace)

    def _take(self) -> Workspace:
        with self._lock:
            if self._free:
                return self._free.pop()
            turn: Future[Workspace] = Future()
            self._waiting.append(turn)
        try:
            with self._metrics.waiting.track_inprogress():
                return turn.result(self._timeout)
        except FutureTimeoutError:
            with self._lock:
                if turn.done():  # assigned after the timeout
                    return turn.result()
                self._waiting.remove(turn)
            raise ProblemError(503, "the server is busy; try again later", Retry_After="2") from None

    def _release(self, workspace: Workspace) -> None:
        """Hands the workspace to the longest-waiting request (fairness)."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set_result(workspace)
            else:
                self._free.append(workspace)
