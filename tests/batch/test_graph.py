"""The whole graph of a report, on two runners."""

import dataclasses
import json
from pathlib import Path

import pytest
from apache_beam.testing.util import assert_that, equal_to

from pipeline import HourlyReport, find_files, run_job, unique_ids
from pipeline.engine.runners import beam_options
from pipeline.errors import RejectsError
from pipeline.model.tally import Summary
from tests import support
from tests.support import EXAMPLE_EVENTS, EXAMPLE_REPORT, HEADER, Files, on_both_runners


@on_both_runners
def test_hourly_report(runner: str, files: Files) -> None:
    job = files.job(ids_output=files.path("ids.txt"), rejects_output=files.path("rejects.jsonl"))
    job = dataclasses.replace(job, chart_output=files.path("chart.html"), chart_page=("<\xe9>", "</>"))
    with support.beam_pipeline(runner) as pipeline:
        assert_that(pipeline | HourlyReport(job), equal_to([job.output]))
    assert files.outputs() == ["chart.html", "ids.txt", "rejects.jsonl", "report.csv"]
    assert Path(job.output).read_text() == EXAMPLE_REPORT
    assert (files.folder / "ids.txt").read_text().splitlines() == unique_ids(EXAMPLE_EVENTS)
    assert (files.folder / "rejects.jsonl").read_text() == ""
    assert (files.folder / "chart.html").read_text() == f"<\xe9>{EXAMPLE_REPORT}</>"


@on_both_runners
def test_hourly_report_with_rejects(runner: str, files: Files) -> None:
    job = files.job()
    good = support.line("a", "impressions", 0)
    (files.folder / "in" / "bad.jsonl").write_bytes(b"x\n" + good + b"\n{}\n")
    job = dataclasses.replace(job, files=tuple(find_files([str(files.folder / "in")])))
    with pytest.raises(RejectsError, match=r"2 of 9 records rejected: .*bad\.jsonl: byte 0: not JSON.*byte 5"):
        run_job(job, beam_options([f"--runner={runner}", support.NO_DOWNLOAD]))
    assert files.outputs() == []
    job = dataclasses.replace(job, rejects_output=files.path("rejects.jsonl"))
    summary = run_job(job, beam_options([f"--runner={runner}", support.NO_DOWNLOAD]))
    assert summary == Summary(read=9, counted=7, rejected=2, hours=4)
    assert Path(job.output).read_text() == EXAMPLE_REPORT.replace(
        HEADER, HEADER + "1970-01-01T01:00:00+01:00,1,0,0,0,0,0,0.1\n"
    )
    rejects = [json.loads(text) for text in (files.folder / "rejects.jsonl").read_text().splitlines()]
    assert [(reject["offset"], reject["raw"]) for reject in rejects] == [(0, "x"), (len(good) + 3, "{}")]
