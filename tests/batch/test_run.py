"""A report's run: what it returns, writes and leaves, on two runners."""

import dataclasses
import os
from pathlib import Path
from unittest import mock

import pytest

from pipeline import Job, run_job
from pipeline.batch import run
from pipeline.batch.run import PreparedJob
from pipeline.engine.runners import beam_options
from pipeline.errors import TooLargeError
from pipeline.model.tally import Summary
from pipeline.storage.files import SIZE_UNKNOWN, InputFile
from tests import oracle, support
from tests.reading_support import write_bomb
from tests.support import EXAMPLE_EVENTS, Files, on_both_runners


@on_both_runners
def test_no_report_without_its_chart(runner: str, files: Files) -> None:
    job = files.job(chart_output=files.path("chart.html/x"))
    Path(files.path("chart.html")).write_text("in the way")
    with pytest.raises(Exception, match=r"chart\.html"):
        run_job(job, beam_options([f"--runner={runner}", support.NO_DOWNLOAD]))
    assert files.outputs() == ["chart.html"]


@on_both_runners
def test_run_job(runner: str, files: Files) -> None:
    job = files.job(utc_offset="-03:30", impressions_factor="2")
    with mock.patch.object(os, "fsync", side_effect=os.fsync) as sync:
        assert run_job(job, beam_options([f"--runner={runner}", support.NO_DOWNLOAD])) == Summary(6, 6, 0, 3)
    assert sync.call_count == 1  # the report outlasts the power
    events = [(item["id"], item["event"], item["timestamp"]) for item in EXAMPLE_EVENTS]
    assert Path(job.output).read_text() == oracle.report(events, -210, "2")
    assert files.outputs() == ["report.csv"]


def test_the_folder_of_temporary_files_is_chosen_once(files: Files) -> None:
    with mock.patch.object(run, "spill_folder", side_effect=run.spill_folder) as chosen:
        run_job(files.job(), beam_options([]))
    assert chosen.call_count == 1


@pytest.mark.parametrize("prepared", [False, True])
def test_parquet_that_stands_for_more_than_a_job_allows(prepared: bool, tmp_path: Path) -> None:
    """The server answers it with 413."""
    write_bomb(tmp_path / "bomb", rows=1000)
    input_file = InputFile(str(tmp_path / "bomb"), SIZE_UNKNOWN, "the body")
    job = Job((input_file,), str(tmp_path / "report.csv"), max_decoded_bytes=10_000_000)
    options = beam_options([])
    with pytest.raises(TooLargeError, match=r"^the body: has more than 10000000 bytes after decompression$"):
        PreparedJob(job, options).run() if prepared else run_job(job, options)
    assert [path.name for path in tmp_path.iterdir()] == ["bomb"]
    allowed = dataclasses.replace(job, max_decoded_bytes=200_000_000)
    assert (PreparedJob(allowed, options).run() if prepared else run_job(allowed, options)).counted == 1000
