"""Bodies and reports that pass through a bucket: the report is the same, and the bucket is empty afterwards."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from pipeline.batch.graph import Job
from pipeline.engine.runners import beam_options
from pipeline.errors import OptionError, RejectsError, UsageError
from pipeline.model.tally import Summary
from pipeline.serving import staging
from pipeline.serving.problems import ProblemError
from pipeline.serving.staging import StagedJob, check_staging
from pipeline.storage.files import InputFile
from tests.memory_bucket import OBJECTS
from tests.serving_support import REPORT, SAMPLE

pytestmark = pytest.mark.usefixtures("empty_bucket")

STAGING = "mem://bucket/staging/"
DATAFLOW = ["--runner=DataflowRunner", "--project=p", "--region=r", "--temp_location=gs://b/t"]


def run(folder: Path, body: bytes = SAMPLE) -> Summary:
    (folder / "body").write_bytes(body)
    file = InputFile(str(folder / "body"), len(body), "body")
    staged = StagedJob(STAGING, beam_options(["--runner=FnApiRunner"]))
    return staged.run(Job((file,), str(folder / "report.csv")))


def test_the_report_is_the_local_one_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    run_job = staging.run_job
    monkeypatch.setattr(staging, "run_job", lambda job, options: read.extend(OBJECTS) or run_job(job, options))
    summary = run(tmp_path)
    assert (tmp_path / "report.csv").read_text() == REPORT
    assert (summary.read, summary.counted, summary.hours) == (6, 6, 3)
    assert len(read) == 1
    assert read[0].startswith("mem://bucket/staging/")
    assert read[0].endswith("/body")
    assert OBJECTS == {}


def test_a_bad_body_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RejectsError):
        run(tmp_path, b"bad\n")
    assert OBJECTS == {}


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        (["--runner=PortableRunner"], True),
        (["--runner=FlinkRunner", "--environment_type=DOCKER"], True),
        (["--runner=FlinkRunner", "--flink_master=host:8081"], True),
        (["--runner=FlinkRunner"], False),
        (["--runner=PortableRunner", "--environment_type=LOOPBACK"], False),
        (["--runner=FnApiRunner"], False),
    ],
)
def test_workers_in_containers_need_a_staging_folder(arguments: list[str], refused: bool, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="workers in containers") if refused else contextlib.nullcontext():
        check_staging(None, PipelineOptions(arguments), tmp_path)


@pytest.mark.parametrize("fails", ["new_object", "open_object"])
def test_a_bucket_that_fails_is_503(fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(staging, fails, refuse)
    with pytest.raises(ProblemError) as caught:
        run(tmp_path)
    assert caught.value.status_code == 503
    assert OBJECTS == {}


def test_what_cannot_be_removed_does_not_hide_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(staging, "delete_file", refuse)
    run(tmp_path)
    assert (tmp_path / "report.csv").read_text() == REPORT
    assert sum("was not removed" in message for message in caplog.messages) == 2


def test_each_job_of_dataflow_has_a_name_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(SAMPLE)
    shared = PipelineOptions([*DATAFLOW, "--job_name=mine"])
    staged = StagedJob(STAGING, shared)
    jobs = [Job((InputFile("gs://b/body", 1, "body"),), "gs://b/r.csv") for _ in range(2)]
    names = [staged._options(job, str(tmp_path)).view_as(GoogleCloudOptions).job_name for job in jobs]
    assert names == [f"mine-{job.token[:8]}" for job in jobs]
    assert shared.view_as(GoogleCloudOptions).job_name == "mine"


@pytest.mark.parametrize(
    ("folder", "options", "reason"),
    [
        (None, DATAFLOW, "staging_location is missing"),
        ("out", ["--runner=FnApiRunner"], "staging_location out: must be a folder in a bucket"),
        ("nothere://b/x", ["--runner=FnApiRunner"], "unknown storage"),
        (STAGING, [*DATAFLOW, "--dry_run=True"], "are not supported by the server"),
        (STAGING, [*DATAFLOW, "--no_wait_until_finish"], "are not supported by the server"),
    ],
)
def test_what_cannot_be_staged(folder: str | None, options: list[str], reason: str, tmp_path: Path) -> None:
    with pytest.raises((OptionError, UsageError), match=reason):
        check_staging(folder, PipelineOptions(options), tmp_path)
    assert OBJECTS == {}


def test_a_folder_that_will_do(tmp_path: Path) -> None:
    check_staging(None, PipelineOptions(["--runner=FnApiRunner"]), tmp_path)
    check_staging(STAGING, PipelineOptions(["--runner=FnApiRunner"]), tmp_path)
    assert OBJECTS == {}
