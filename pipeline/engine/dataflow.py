"""Dataflow jobs: their defaults, the package that workers install, and launching without waiting."""

import hashlib
import logging
import shutil
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    TestOptions,
    WorkerOptions,
)

from pipeline.errors import OptionError, UsageError
from pipeline.storage.files import is_local

_PACKAGE = Path(__file__).resolve().parents[1]
_DISTRIBUTION = "hourly-ad-report"
_SETUP = """from setuptools import find_packages, setup

setup(name={!r}, version={!r}, packages=find_packages(), include_package_data=True, install_requires={!r})
"""

_BUILD = """import subprocess, sys

command = [sys.executable, "setup.py", "sdist", "-d", sys.argv[-2]]
sys.exit(subprocess.run(command, capture_output=True).returncode)
"""  # shadows the module of Beam's `python -m build ... FOLDER PACKAGE`; prints nothing


def is_dataflow(options: PipelineOptions) -> bool:
    """Returns whether the runner is Dataflow."""
    return "DataflowRunner" in str(options.view_as(StandardOptions).runner)


def prepare(options: PipelineOptions, paths: list[str], folder: str, lasting: str = "") -> None:
    """Sets the defaults of a job: its name, a label, and the workers' package.

    Args:
      options: options of the job.
      paths: the job's inputs and outputs.
      folder: local folder for the package.
      lasting: a stream's output, from which its job name is derived, so that an update finds the job.

    Raises:
      UsageError: an option is missing, or a path is local, which no worker can access.
    """
    google = options.view_as(GoogleCloudOptions)
    for name in ("project", "region", "temp_location"):
        if not getattr(google, name):
            raise OptionError(f"{name} is missing: DataflowRunner needs it")
    for name in ("temp_location", "staging_location"):
        location = getattr(google, name)
        if location and is_local(location):
            raise OptionError(f"{name} {location} is local: DataflowRunner needs gs://")
    for path in filter(is_local, paths):
        raise UsageError(f"{path} is local: DataflowRunner needs gs:// or s3://")
    kind = "stream" if options.view_as(StandardOptions).streaming else "report"
    google.job_name = google.job_name or _job_name(kind, lasting)
    labels = google.labels or []
    google.labels = labels if any(label.startswith("pipeline=") for label in labels) else [*labels, f"pipeline={kind}"]
    _log_job_id()
    setup = options.view_as(SetupOptions)
    if not (setup.setup_file or setup.extra_packages or options.view_as(WorkerOptions).sdk_container_image):
        setup.setup_file = str(setup_file(Path(folder)))


def _log_job_id() -> None:
    """Shows Beam's messages with the job's id, which Airflow's operator parses, and with the console's URL."""
    logger = logging.getLogger("apache_beam.runners.dataflow.internal.apiclient")
    logger.setLevel(logging.INFO)
    logger.addFilter(_is_job_id)


def _is_job_id(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or record.getMessage().startswith(("Created job with id", "To access the"))


def _job_name(kind: str, lasting: str) -> str:
    """Returns hourly-KIND- and the digest of a stream's output, else the time."""
    if lasting:
        digest = hashlib.blake2b(lasting.encode("utf-8", "surrogateescape"), digest_size=5)
        return f"hourly-{kind}-{digest.hexdigest()}"
    return time.strftime(f"hourly-{kind}-%Y%m%d-%H%M%S", time.gmtime())


def setup_file(folder: Path) -> Path:
    """Creates the workers' package, without the page, in a folder; returns its setup.py."""
    project, clone = folder / "package", _PACKAGE.parent
    if project.exists():  # from an earlier job of a server
        return project / "setup.py"
    shutil.copytree(_PACKAGE, project / "pipeline", ignore=shutil.ignore_patterns("__pycache__", ".*", "page"))
    if (clone / "setup.py").exists():
        for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md"):
            shutil.copy(clone / name, project)
    else:
        found = metadata.distribution(_DISTRIBUTION)
        needs = [need for need in found.requires or [] if "extra ==" not in need]
        (project / "setup.py").write_text(_SETUP.format(_DISTRIBUTION, found.version, needs))
    (project / "build.py").write_text(_BUILD)
    return project / "setup.py"


def is_detached(options: PipelineOptions) -> bool:
    """Returns whether the program exits before the job ends: a template, a dry run, or --no_wait_until_finish."""
    template = options.view_as(GoogleCloudOptions).template_location
    no_wait = options.view_as(StandardOptions).no_wait_until_finish
    return bool(template or options.view_as(TestOptions).dry_run or no_wait)


def launch(pipeline: beam.Pipeline, options: PipelineOptions) -> str:
    """Starts a detached job; returns a line for the user."""
    google = options.view_as(GoogleCloudOptions)
    result: Any = pipeline.run()
    if google.template_location:
        return f"template in {google.template_location}"
    if options.view_as(TestOptions).dry_run:
        return f"dry run of {google.job_name}: no job was started"
    return f"job {result.job_id()} started: {google.job_name} in {google.region}"
