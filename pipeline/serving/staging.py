"""Reports by runners whose workers do not see this machine's disk: body and report pass through a bucket."""

import copy
import dataclasses
import logging
import os
import shutil
from pathlib import Path

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from pipeline.batch.graph import Job
from pipeline.batch.run import run_job
from pipeline.engine import dataflow
from pipeline.engine.runners import works_in_containers
from pipeline.errors import OptionError, OutputError, UsageError
from pipeline.model.tally import Summary
from pipeline.serving.problems import ProblemError
from pipeline.storage.files import SIZE_UNKNOWN, InputFile, explain, is_io_error, is_local
from pipeline.storage.objects import check_object_path, delete_file, measured, new_object, open_object

_COPY_BYTES = 1024 * 1024


def check_staging(staging: str | None, options: PipelineOptions, folder: Path) -> None:
    """Checks that the runner has the staging folder and options that it needs.

    Args:
      staging: folder in a bucket, or None.
      options: Beam's.
      folder: local folder for temporary files.

    Raises:
      UsageError: an option is missing or invalid, or the staging folder is not writable.
    """
    remote = dataflow.is_dataflow(options)
    if remote and not staging:
        raise OptionError("staging_location is missing: Dataflow's workers cannot access this machine's disk")
    if not staging:
        if works_in_containers(options):
            raise OptionError("staging_location is missing: workers in containers cannot access this machine's disk")
        return
    if is_local(staging):
        raise OptionError(f"staging_location {staging}: must be a folder in a bucket, gs:// or s3://")
    _check_writable(f"{staging.rstrip('/')}/probe")
    if remote:
        if dataflow.is_detached(options):
            raise UsageError("no_wait_until_finish, dry_run and template_location are not supported by the server")
        dataflow.prepare(options, [staging], str(folder))


def _check_writable(path: str) -> None:
    check_object_path(path)
    try:
        with new_object(path):
            pass
        delete_file(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {explain(error)}") from None


class StagedJob:
    """Runs the job of a local file on copies of its input and report in a bucket."""

    def __init__(self, staging: str, options: PipelineOptions) -> None:
        self._staging, self._shared = staging.rstrip("/"), options

    def run(self, local: Job) -> Summary:
        """Runs the job like run_job and removes its objects; raises ProblemError 503 if the bucket fails."""
        (body,) = local.files
        folder = f"{self._staging}/{local.token}"
        staged = body._replace(path=f"{folder}/body", size=os.stat(body.path).st_size, version=None)
        job = dataclasses.replace(local, files=(staged,), output=f"{folder}/report.csv")
        try:
            with open(body.path, "rb") as source, new_object(staged.path) as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)
            summary = run_job(job, self._options(job, os.path.dirname(body.path)))
            report = measured(InputFile(job.output, SIZE_UNKNOWN, job.output))
            with open_object(report) as source, open(local.output, "wb") as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)
            return summary
        except Exception as error:
            if not (is_io_error(error) or isinstance(error, OutputError)):
                raise
            logging.getLogger(__name__).error("%s: %s", folder, error)
            raise ProblemError(
                503, "the staging bucket cannot be used; see the server's log", Retry_After="60"
            ) from None
        finally:
            _remove([staged.path, job.output])

    def _options(self, job: Job, folder: str) -> PipelineOptions:
        """Copies the options, since Beam modifies them, and sets the unique job name that Dataflow needs."""
        options = copy.deepcopy(self._shared)
        if dataflow.is_dataflow(options):
            dataflow.prepare(options, [file.path for file in job.files], folder)
            google = options.view_as(GoogleCloudOptions)
            google.job_name = f"{google.job_name}-{job.token[:8]}"
        return options


def _remove(paths: list[str]) -> None:
    for path in paths:
        try:
            delete_file(path)
        except Exception as error:  # must not mask the run's own error
            logging.getLogger(__name__).warning("%s was not removed: %s", path, error)
