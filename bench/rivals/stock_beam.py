"""The report by Beam as its guide teaches it, element by element: stock_beam.py INPUT.jsonl OUTPUT.csv [IDS.txt]

The same steps as this project's graph, but a line is an element. Runs on the embedded FnApiRunner with a worker
process for each core, which is faster here than one process.
"""

import json
import sys
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

EVENT_TYPES = ("impressions", "video_start", "video_25", "video_50", "video_75", "video_completed")
HEADER = ",".join(("hour", *EVENT_TYPES, "impressions_scaled"))
ZONE = timezone(timedelta(hours=1))
RUNNER = {"runner": "FnApiRunner", "direct_running_mode": "multi_processing", "direct_num_workers": 0}


def hour_and_event(event: dict[str, Any]) -> tuple[int, str]:
    """The key to count by: the UTC hour's number and the event type."""
    return event["timestamp"] // 3600, event["event"]


def row(item: tuple[int, Iterable[tuple[str, int]]]) -> str:
    """One hour's line of the report."""
    hour, pairs = item
    counts = dict(pairs)
    numbers = [counts.get(name, 0) for name in EVENT_TYPES]
    impressions = numbers[0]
    label = datetime.fromtimestamp(hour * 3600, ZONE).isoformat()
    return ",".join([label, *map(str, numbers), f"{impressions // 10}.{impressions % 10}"])


def report_of(events: beam.PCollection[dict[str, Any]]) -> beam.PCollection[str]:
    """The report's lines without its header, as one text: only one element is sure to keep its order."""
    return (
        events
        | "Key" >> beam.Map(lambda event: (hour_and_event(event), 1))
        | "Count" >> beam.CombinePerKey(sum)
        | "By hour" >> beam.MapTuple(lambda key, count: (key[0], (key[1], count)))
        | "Group" >> beam.GroupByKey()
        | "Row" >> beam.Map(row)
        | "All rows" >> beam.combiners.ToList()
        | "Sort" >> beam.Map(lambda rows: "\n".join(sorted(rows)))
    )


def unique_ids(events: beam.PCollection[dict[str, Any]]) -> beam.PCollection[str]:
    """Each id once."""
    return events | "Id" >> beam.Map(lambda event: event["id"]) | "Unique" >> beam.Distinct()


def main(source: str, report: str, ids: str | None = None) -> None:
    """Builds the pipeline and runs it to the end."""
    one_file = {"num_shards": 1, "shard_name_template": ""}
    with beam.Pipeline(options=PipelineOptions([], **RUNNER)) as pipeline:
        events = pipeline | "Read" >> beam.io.ReadFromText(source) | "Parse" >> beam.Map(json.loads)
        _ = report_of(events) | "Write" >> beam.io.WriteToText(report, header=HEADER, **one_file)
        if ids:
            _ = unique_ids(events) | "Write ids" >> beam.io.WriteToText(ids, **one_file)


if __name__ == "__main__":
    main(*sys.argv[1:])
