"""Kafka to BigQuery: a stream of JSON messages to hourly rows, each with the totals of its hour so far.

python examples/beam/kafka_to_bigquery.py localhost:9092 events my-project:ads.hourly --streaming --runner=...

Kafka's transform is written in Java, so the machine that starts the job needs Java.
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
    """Counts messages by the time of their events, and returns hourly rows and invalid messages.

    Messages are put into windows of some seconds first, so that many are decoded together.
    """
    batches = messages | "Seconds" >> beam.WindowInto(FixedWindows(5)) | pipeline.BatchEvents()
    return batches | pipeline.HourlyRows(windows=windows), batches.errors


def run(servers: str, topic: str, table: str, options: Sequence[str] = ()) -> None:
    """Appends a row to the table with each change of an hour: the last one of an hour has the highest counts."""
    with beam.Pipeline(options=PipelineOptions(options)) as p:
        read = ReadFromKafka({"bootstrap.servers": servers}, [topic])
        rows, invalid = hourly_rows(p | read | beam.Values(), pipeline.hour_windows(early_firing_seconds=60))
        _ = rows | "As dicts" >> beam.Map(pipeline.HourlyRow._asdict) | write_to(table)
        _ = invalid | "Log" >> beam.LogElements(level=30)


def write_to(table: str) -> WriteToBigQuery:
    """Appends rows to a table of BigQuery, and creates it where there is none."""
    return WriteToBigQuery(table, schema=",".join(COLUMNS), method=WriteToBigQuery.Method.STREAMING_INSERTS)


if __name__ == "__main__":
    run(*sys.argv[1:4], options=sys.argv[4:])
