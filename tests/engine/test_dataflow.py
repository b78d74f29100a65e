"""Jobs of Dataflow: the names that they have where the user gives none."""

import importlib.util
import logging
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from pipeline.engine.dataflow import prepare

_GIVEN = ["--project=p", "--region=r", "--temp_location=gs://b/t", "--sdk_container_image=i"]


def name(*arguments: str, lasting: str = "") -> str:
    """The name of a job."""
    options = PipelineOptions([*_GIVEN, *arguments])
    prepare(options, [], "", lasting)
    return str(options.view_as(GoogleCloudOptions).job_name)


def test_a_stream_has_the_same_name_in_each_run() -> None:
    first = name("--streaming", lasting="gs://b/out")
    assert name("--streaming", lasting="gs://b/out") == first
    assert first.startswith("hourly-stream-")
    assert name("--streaming", lasting="gs://b/other") != first


def test_a_name_that_is_given_stays() -> None:
    assert name("--streaming", "--job_name=mine", lasting="gs://b/out") == "mine"


def test_a_batch_is_named_by_its_time() -> None:
    assert name().startswith("hourly-report-2")


LOGGER = "apache_beam.runners.dataflow.internal.apiclient"


def test_the_line_by_which_airflow_finds_a_job_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    prepare(PipelineOptions(_GIVEN), [], "")
    logging.getLogger(LOGGER).info("Created job with id: [%s]", "2026-11-29_1")
    logging.getLogger(LOGGER).info("Starting GCS upload to %s...", "gs://b/t")
    logging.getLogger(LOGGER).warning("a warning")
    assert [record.getMessage() for record in caplog.records] == ["Created job with id: [2026-11-29_1]", "a warning"]


def test_beam_logs_the_job_by_that_name_and_line() -> None:
    spec = importlib.util.find_spec(LOGGER)
    assert spec is not None
    assert "'Created job with id: [%s]'" in Path(str(spec.origin)).read_text()
