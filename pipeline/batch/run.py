"""Runs a batch and checks its counters; shared by the command line and the server."""

import dataclasses
import itertools
import logging
import os
from collections.abc import Callable
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.environments import EmbeddedPythonEnvironment

from pipeline.batch.graph import HourlyReport, Job
from pipeline.engine.metrics import TOTALS, summarize
from pipeline.engine.runners import is_embedded, is_running_remotely, raise_if_still_running, spill_folder, user_error
from pipeline.engine.spill import remove_objects
from pipeline.engine.warm_runner import WarmRunner
from pipeline.model.tally import Summary, check_counts
from pipeline.storage.files import is_local
from pipeline.storage.temporary import run_lock


def run_job(job: Job, options: PipelineOptions) -> Summary:
    """Builds and runs the graph, and checks that its counters account for each record.

    Args:
      job: the batch.
      options: Beam's.

    Raises:
      PipelineError: raised by a transform. Other errors come from the runner.
    """
    job = dataclasses.replace(job, spill_folder=spill_folder(options))
    folders = {os.path.dirname(os.path.realpath(path)) for path in filter(is_local, job.spill_paths)}
    with run_lock(folders, job.token):
        return _finish(job, lambda: _build(job, options).run())


def build_job(job: Job, options: PipelineOptions) -> beam.Pipeline:
    """Builds the graph."""
    return _build(dataclasses.replace(job, spill_folder=spill_folder(options)), options)


def _build(job: Job, options: PipelineOptions) -> beam.Pipeline:
    pipeline = beam.Pipeline(options=options)
    _ = pipeline | "Hourly report" >> HourlyReport(job, one_worker=is_embedded(options))
    return pipeline


class PreparedJob:
    """A job whose graph is built once and run repeatedly on Beam's embedded runner; not thread-safe.

    A run has a twentieth of the overhead of `run_job`. Each run reads the files again, so their sizes must be
    SIZE_UNKNOWN.
    """

    def __init__(self, job: Job, options: PipelineOptions) -> None:
        pipeline = build_job(job, options)
        graph = pipeline.to_runner_api(default_environment=EmbeddedPythonEnvironment.default())
        self._job, self._runner = job, WarmRunner(graph, options)

    def run(self) -> Summary:
        """Runs the job like run_job."""
        return _finish(self._job, self._runner.run)

    def close(self) -> None:
        """Stops the worker; another run would start it again."""
        self._runner.close()


def _finish(job: Job, start: Callable[[], Any]) -> Summary:
    result: Any = None
    try:
        result = start()
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
        except Exception as error:  # must not mask the run's own error
            logging.getLogger(__name__).warning("temporary files beside %s were not removed: %s", path, error)
