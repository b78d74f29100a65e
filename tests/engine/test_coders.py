"""Coders: blocks and batches are not pickled where nothing ships them, and graphs can be read back from their proto."""

import contextlib
from pathlib import Path
from unittest import mock

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline import BatchEvents, DropDuplicates, HourlyRows, HourlyTable, ScaleImpressions, UniqueIds
from pipeline.batch.run import build_job
from pipeline.cli.main import main
from pipeline.formats.decoding import Block
from pipeline.model.events import Batch, Ids
from tests import support
from tests.support import Files


@pytest.mark.parametrize(
    ("refused", "more"),
    [((Block, Batch), ()), ((Block, Batch, Ids), ("--ids_output=ids.txt",)), ((Block,), ("--deduplicate",))],
)
def test_a_run_pickles_no_blocks_or_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: tuple[type, ...], more: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("events.jsonl").write_bytes(support.json_lines(support.EXAMPLE_EVENTS))
    with contextlib.ExitStack() as stack:
        for kind in refused:
            pickled = mock.Mock(side_effect=AssertionError("pickled"))
            stack.enter_context(mock.patch.object(kind, "__reduce_ex__", pickled))
        assert main(["--input=events.jsonl", "--output=report.csv", *more]) == 0
    assert Path("report.csv").read_text() == support.EXAMPLE_REPORT


def read_back(pipeline: beam.Pipeline) -> beam.Pipeline:
    """The pipeline as Interactive Beam makes it anew, from its proto."""
    return beam.Pipeline.from_runner_api(pipeline.to_runner_api(), FnApiRunner(), pipeline.options)


def test_a_batch_runs_after_it_was_read_back_from_its_proto(tmp_path: Path) -> None:
    files = Files(tmp_path)
    outputs = {name: files.path(name) for name in ("ids_output", "rejects_output", "chart_output")}
    job = files.job(**outputs)
    read_back(build_job(job, PipelineOptions())).run().wait_until_finish()
    assert Path(job.output).read_text() == support.EXAMPLE_REPORT
    assert files.outputs() == sorted(["report.csv", *outputs])


def test_the_transforms_run_after_they_were_read_back_from_their_proto(tmp_path: Path) -> None:
    pipeline = beam.Pipeline()
    batches = pipeline | beam.Create([*support.EXAMPLE_EVENTS, b"x"]) | BatchEvents()
    rows = batches | HourlyRows() | "Row" >> beam.Map(lambda row: f"row {row.hour[11:13]}")
    tables = (
        batches
        | DropDuplicates()
        | HourlyTable()
        | ScaleImpressions()
        | "Table" >> beam.Map(lambda t: f"table {len(t)}")
    )
    ids = batches | UniqueIds() | "Id" >> beam.Map(lambda name: f"id {name[:4]}")
    errors = batches.errors | "Error" >> beam.Map(lambda error: f"error {error.record.decode()}")
    _ = (
        (rows, tables, ids, errors)
        | beam.Flatten()
        | beam.io.WriteToText(str(tmp_path / "out"), shard_name_template="")
    )
    read_back(pipeline).run().wait_until_finish()
    ids_found = [f"id {item['id'][:4]}" for item in support.EXAMPLE_EVENTS]
    wanted = ["row 18", "row 20", "row 22", "table 3", *ids_found, "error x"]
    assert sorted((tmp_path / "out").read_text().splitlines()) == sorted(wanted)
