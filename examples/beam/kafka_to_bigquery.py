"""Kafka to BigQuery: counts JSON messages by hour, and appends a row with the totals so far for each pane of an hour.

python examples/beam/kafka_to_bigquery.py localhost:9092 events my-project:ads.hourly --streaming --runner=...

ReadFromKafka is a cross-language transform: the machine that submits the job needs Java.
"""

import sys
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.gcp.bigquery import WriteToBigQuery
from apache_beam.io.kafka import ReadFromKafka
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.window import FixedWindows

import pipeline

COLUMNS = ["hour:TIMESTAMP", *[f"{event}:INT64" for event in pipeline.EVENT_TYPES], "impressions_scaled:NUMERIC"]


def hourly_rows(messages: beam.PCollection[Any], windows: beam.WindowInto) -> Any:
    """Counts messages by event time; returns hourly rows and invalid messages.

    Windows of five seconds let many messages be decoded together.
    """
    batches = messages | "Seconds" >> beam.WindowInto(FixedWindows(5)) | pipeline.BatchEvents()
    return batches | pipeline.HourlyRows(windows=windows), batches.errors


def run(servers: str, topic: str, table: str, options: Sequence[str] = ()) -> None:
    """Appends a row for each pane of an hour; the latest row of an hour has the highest counts."""
    with beam.Pipeline(options=PipelineOptions(options)) as p:
        read = ReadFromKafka({"bootstrap.servers": servers}, [topic])
        rows, invalid = hourly_rows(p | read | beam.Values(), pipeline.hour_windows(early_firing_seconds=60))
        _ = rows | "As dicts" >> beam.Map(pipeline.HourlyRow._asdict) | write_to(table)
        _ = invalid | "Log" >> beam.LogElements(level=30)


def write_to(table: str) -> WriteToBigQuery:
    """Appends rows to a BigQuery table, which it creates if needed."""
    return WriteToBigQuery(table, schema=",".join(COLUMNS), method=WriteToBigQuery.Method.STREAMING_INSERTS)


if __name__ == "__main__":
    run(*sys.argv[1:4], options=sys.argv[4:])
