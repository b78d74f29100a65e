"""The examples of docs/beam.md that need Beam alone."""

import json
from pathlib import Path

import apache_beam as beam
import pyarrow.parquet
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing import test_stream as testing
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import TimestampedValue

from examples.beam import kafka_to_bigquery, text_to_parquet
from pipeline import hour_windows
from pipeline.model.table import COLUMNS
from tests import support
from tests.support import EXAMPLE_EVENTS


def test_text_to_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(support.json_lines(EXAMPLE_EVENTS[:3]) + b"no event\n")
    (tmp_path / "b.jsonl").write_bytes(support.json_lines(EXAMPLE_EVENTS[3:]))
    report, invalid = str(tmp_path / "out/report"), str(tmp_path / "out/invalid")
    text_to_parquet.run(str(tmp_path / "*.jsonl"), report, invalid, ["--runner=FnApiRunner"])
    table = pyarrow.parquet.read_table(list((tmp_path / "out").glob("report*.parquet")))
    rows = sorted(table.select(COLUMNS).to_pylist(), key=lambda row: row["hour"])
    assert [(row["hour"][:16], sum(list(row.values())[1:])) for row in rows] == [
        ("2021-04-02T19:00", 2),
        ("2021-04-02T21:00", 1),
        ("2021-04-02T23:00", 3),
    ]
    assert table.schema.field("impressions_scaled").type == pyarrow.decimal128(38, 9)
    (lines,) = (tmp_path / "out").glob("invalid*.jsonl")
    (error,) = map(json.loads, lines.read_text().splitlines())
    assert (error["record"], error["reason"][:9]) == ("no event", "not JSON:")


def test_kafka_to_hourly_rows() -> None:
    messages = [json.dumps(event).encode() for event in EXAMPLE_EVENTS]
    now = EXAMPLE_EVENTS[1]["timestamp"] + 60
    stream = testing.TestStream().add_elements([TimestampedValue(message, now) for message in [*messages[:4], b"x"]])
    stream = stream.advance_processing_time(61).add_elements(
        [TimestampedValue(message, now) for message in messages[4:]]
    )
    with beam.Pipeline("DirectRunner", PipelineOptions(["--streaming", support.NO_DOWNLOAD])) as p:
        elements = p | stream.advance_processing_time(61).advance_watermark_to_infinity()
        rows, invalid = kafka_to_bigquery.hourly_rows(elements, hour_windows(late_at_once=True))
        totals = rows | beam.Map(lambda row: (row.hour[11:13], sum(row[1:7])))
        assert_that(totals, equal_to([("18", 1), ("20", 1), ("22", 2), ("18", 2), ("22", 3)]))
        assert_that(invalid | beam.Map(lambda error: error.record), equal_to([b"x"]), "invalid")
