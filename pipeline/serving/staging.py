"""Reports by runners whose workers do not see this machine's disk: body and report pass through a bucket."""

import copy
import logging
import shutil
import uuid
from pathlib import Path

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from pipeline.batch.job import Job
from pipeline.batch.run import run_job
from pipeline.engine import dataflow
from pipeline.errors import OptionError, OutputError, UsageError
from pipeline.model.settings import ReportSettings
from pipeline.model.tally import Summary
from pipeline.serving.problems import ProblemError
from pipeline.storage.files import InputFile, NewFile, delete_file, is_io_error, is_local
from pipeline.storage.output_checks import check_writable

_COPY_BYTES = 1024 * 1024


def check_staging(staging: str | None, options: PipelineOptions, folder: Path) -> None:
    """UsageError where a runner lacks a staging folder or another option, or the folder cannot be written to."""
    remote = dataflow.is_dataflow(options)
    if remote and not staging:
        raise OptionError("staging is missing: DataflowRunner's workers do not see this machine's disk")
    if not staging:
        return
    if is_local(staging):
        raise OptionError(f"staging {staging}: must be a folder in a bucket, gs:// or s3://")
    check_writable(f"{staging.rstrip('/')}/probe")
    if remote:
        if dataflow.is_detached(options):
            raise UsageError("no_wait_until_finish, dry_run and template_location do not go with a server")
        dataflow.prepare(options, [staging], str(folder))


class StagedJob:
    """Makes a report of a file on this machine by a job that reads a copy in a bucket, and writes the report there."""

    def __init__(self, body: InputFile, report: Path, staging: str, options: PipelineOptions) -> None:
        self._body, self._report = body, report
        self._staging, self._shared = staging.rstrip("/"), options

    def run(self, settings: ReportSettings) -> Summary:
        """As run_job; removes its objects at the end. Raises ProblemError 503 where the bucket fails."""
        folder = f"{self._staging}/{uuid.uuid4().hex}"
        staged = self._body._replace(path=f"{folder}/body", size=Path(self._body.path).stat().st_size)
        job = Job((staged,), f"{folder}/report.csv", settings)
        try:
            _upload(self._body.path, staged.path)
            summary = run_job(job, self._options(job))
            _download(job.output, self._report)
            return summary
        except Exception as error:
            if not (is_io_error(error) or isinstance(error, OutputError)):
                raise
            logging.getLogger(__name__).error("%s: %s", folder, error)
            raise ProblemError(503, "the server's bucket cannot be used; its log says why", Retry_After="60") from None
        finally:
            _remove([staged.path, job.output])

    def _options(self, job: Job) -> PipelineOptions:
        """The job's own copy of the options, since Beam writes into them, with its own name, which Dataflow needs."""
        options = copy.deepcopy(self._shared)
        if dataflow.is_dataflow(options):
            dataflow.prepare(options, [file.path for file in job.files], str(self._report.parent))
            google = options.view_as(GoogleCloudOptions)
            google.job_name = f"{google.job_name}-{job.token[:8]}"
        return options


def _upload(source: str, target: str) -> None:
    with open(source, "rb") as body, NewFile(target) as stream:
        shutil.copyfileobj(body, stream, _COPY_BYTES)  # type: ignore[misc]


def _download(source: str, target: Path) -> None:
    with (
        FileSystems.open(source, compression_type=CompressionTypes.UNCOMPRESSED) as stream,
        open(target, "wb") as report,
    ):
        shutil.copyfileobj(stream, report, _COPY_BYTES)


def _remove(paths: list[str]) -> None:
    for path in paths:
        try:
            delete_file(path)
        except Exception as error:  # must not hide how the run ended
            logging.getLogger(__name__).warning("%s was not removed: %s", path, error)
