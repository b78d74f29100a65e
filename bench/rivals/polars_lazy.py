"""The report by Polars, as one lazy query on its streaming engine: polars_lazy.py INPUT.jsonl OUTPUT.csv [IDS.txt]

Both results come from one collection, so that the file is read once, on all cores.
"""

import sys

import polars as pl

EVENT_TYPES = ("impressions", "video_start", "video_25", "video_50", "video_75", "video_completed")
SCHEMA = {"id": pl.String, "event": pl.String, "timestamp": pl.Int64}


def report_of(events: pl.LazyFrame) -> pl.LazyFrame:
    """Counts per hour at UTC+01:00 and event type, with the scaled impressions in exact decimals."""
    counts = [(pl.col("event") == name).sum().cast(pl.Int64).alias(name) for name in EVENT_TYPES]
    hour = pl.from_epoch(pl.col("utc_hour") * 3600 + 3600).dt.strftime("%Y-%m-%dT%H:00:00+01:00")
    return (
        events.group_by(utc_hour=pl.col("timestamp") // 3600)
        .agg(counts)
        .sort("utc_hour")
        .select(
            hour.alias("hour"),
            *EVENT_TYPES,
            pl.format("{}.{}", pl.col("impressions") // 10, pl.col("impressions") % 10).alias("impressions_scaled"),
        )
    )


def main(source: str, report: str, ids: str | None = None) -> None:
    """Writes the report, and the unique ids when asked for them."""
    events = pl.scan_ndjson(source, schema=SCHEMA)
    queries = [report_of(events).sink_csv(report, lazy=True)]
    if ids:
        queries.append(events.select(pl.col("id").unique()).sink_csv(ids, include_header=False, lazy=True))
    pl.collect_all(queries, engine="streaming")


if __name__ == "__main__":
    main(*sys.argv[1:])
