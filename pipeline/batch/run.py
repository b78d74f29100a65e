"""A run of a batch, with its checks: what the command line and the server both call."""

import dataclasses
import itertools
import logging
import os
from collections.abc import Callable
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.environments import EmbeddedPythonEnvironment

from pipeline.batch.graph import HourlyReport
from pipeline.batch.job import Job
from pipeline.engine.metrics import TOTALS, summarize
from pipeline.engine.results import is_running_remotely, raise_if_still_running, user_error
from pipeline.engine.runners import spill_folder
from pipeline.engine.spill import remove_objects
from pipeline.engine.warm_runner import WarmRunner
from pipeline.model.tally import Summary, check_counts
from pipeline.storage.files import is_local
from pipeline.storage.temporary import run_lock


def run_job(job: Job, options: PipelineOptions) -> Summary:
    """Builds and runs the graph, waits for its end, and checks that its counters account for each record.

    Raises:
      PipelineError: as the transforms do. Others come from the runner. No temporary file is left.
    """
    job = _placed(job, options)
    folders = {os.path.dirname(os.path.realpath(path)) for path in filter(is_local, job.spill_paths)}
    started: list[Any] = []
    with run_lock(folders, job.token, keep=lambda: any(map(is_running_remotely, started))):
        return _finish(job, lambda: build_job(job, options).run(), started)


def build_job(job: Job, options: PipelineOptions, one_worker: bool = False) -> beam.Pipeline:
    """The graph, to be run. one_worker: as HourlyReport."""
    pipeline = beam.Pipeline(options=options)
    _ = pipeline | "Hourly report" >> HourlyReport(_placed(job, options), one_worker)
    return pipeline


def _placed(job: Job, options: PipelineOptions) -> Job:
    return dataclasses.replace(job, spill_folder=spill_folder(options))


class PreparedJob:
    """A job whose graph is built and set up once, to be run again and again on Beam's embedded engine.

    Apart from its data, a run costs a twentieth of `run_job`'s. The files are read anew by each run, so their
    sizes are SIZE_UNKNOWN. Not to be run by two threads at once: both would write the same output.
    """

    def __init__(self, job: Job, options: PipelineOptions) -> None:
        pipeline = build_job(job, options, one_worker=True)
        graph = pipeline.to_runner_api(default_environment=EmbeddedPythonEnvironment.default())
        self._job, self._runner = job, WarmRunner(graph, options)

    def run(self) -> Summary:
        """As run_job."""
        return _finish(self._job, self._runner.run, [])

    def close(self) -> None:
        """Gives back what it holds; another run would set it up again."""
        self._runner.close()


def _finish(job: Job, start: Callable[[], Any], started: list[Any]) -> Summary:
    result: Any = None
    try:
        result = start()
        started.append(result)
        result.wait_until_finish()
        summary = summarize(result, TOTALS)
    except KeyboardInterrupt:
        raise_if_still_running(result)
        raise
    except Exception as error:
        raise user_error(error) or error from None
    finally:
        if not is_running_remotely(result):
            _remove_spilled_objects(job)
    check_counts(summary.read, summary.counted, summary.rejected, summary.duplicate)
    return summary


def _remove_spilled_objects(job: Job) -> None:
    for path in itertools.filterfalse(is_local, job.spill_paths):
        try:
            remove_objects(path, job.token)
        except Exception as error:  # must not hide how the run ended
            logging.getLogger(__name__).warning("temporary files beside %s were not removed: %s", path, error)
