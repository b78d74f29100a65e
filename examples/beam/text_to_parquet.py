"""JSON Lines to Parquet: writes hourly rows as Parquet, and invalid lines to a second file.

python examples/beam/text_to_parquet.py 'events/*.jsonl' out/report out/invalid --runner=FnApiRunner
"""

import json
import sys
from collections.abc import Sequence

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

import pipeline

SCHEMA = pa.schema(
    [
        ("hour", pa.string()),
        *[(event, pa.int64()) for event in pipeline.EVENT_TYPES],
        ("impressions_scaled", pa.decimal128(38, 9)),
    ]
)


def run(source: str, report: str, invalid: str, options: Sequence[str] = ()) -> None:
    """Writes hourly rows as Parquet, and invalid lines as JSON Lines with the reason."""
    with beam.Pipeline(options=PipelineOptions(options)) as p:
        batches = p | "Read" >> beam.io.ReadFromText(source) | pipeline.BatchEvents()
        rows = batches | pipeline.HourlyRows(time_zone="Europe/Paris")
        _ = (
            rows
            | "As dicts" >> beam.Map(pipeline.HourlyRow._asdict)
            | beam.io.WriteToParquet(report, SCHEMA, file_name_suffix=".parquet")
        )
        _ = (
            batches.errors
            | "As JSON" >> beam.Map(lambda error: json.dumps(error._asdict()))
            | beam.io.WriteToText(invalid, file_name_suffix=".jsonl")
        )


if __name__ == "__main__":
    run(*sys.argv[1:4], options=sys.argv[4:])
