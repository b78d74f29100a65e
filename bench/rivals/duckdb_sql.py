"""The report by DuckDB, in SQL: python bench/rivals/duckdb_sql.py INPUT OUTPUT.csv [IDS.txt | --deduplicate]

DuckDB reads the file itself, on all cores, with the columns given so that it need not look for them. INPUT is
JSON Lines (.jsonl, also .jsonl.gz and .jsonl.zst), Parquet (.parquet) or else a JSON array.
"""

import sys

import duckdb

COLUMNS = "{id: 'VARCHAR', event: 'VARCHAR', timestamp: 'BIGINT'}"
REPORT = """
COPY (
    SELECT
        strftime(make_timestamp((utc_hour + 1) * 3600000000), '%Y-%m-%dT%H:00:00+01:00') AS hour,
        * EXCLUDE (utc_hour),
        impressions * 0.1 AS impressions_scaled
    FROM (
        SELECT
            timestamp // 3600 AS utc_hour,
            count(*) FILTER (event = 'impressions') AS impressions,
            count(*) FILTER (event = 'video_start') AS video_start,
            count(*) FILTER (event = 'video_25') AS video_25,
            count(*) FILTER (event = 'video_50') AS video_50,
            count(*) FILTER (event = 'video_75') AS video_75,
            count(*) FILTER (event = 'video_completed') AS video_completed
        FROM {source}
        GROUP BY utc_hour
    )
    ORDER BY utc_hour
) TO {output} (FORMAT csv, HEADER)
"""
IDS = "COPY (SELECT DISTINCT id FROM {source}) TO {output} (FORMAT csv, HEADER false, QUOTE '', ESCAPE '')"


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def source(path: str) -> str:
    """The table function that reads the file."""
    if path.endswith(".parquet"):
        return f"read_parquet({quoted(path)})"
    form = "newline_delimited" if ".jsonl" in path else "array"
    return f"read_json({quoted(path)}, format = '{form}', columns = {COLUMNS})"


def main(events: str, report: str, more: str | None = None) -> None:
    """Writes the report, and the unique ids when asked for them; with --deduplicate of events that are different."""
    ids = more if more != "--deduplicate" else None
    counted = source(events) if more == ids else f"(SELECT DISTINCT id, event, timestamp FROM {source(events)})"
    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(REPORT.format(source=counted, output=quoted(report)))
        if ids:
            connection.execute(IDS.format(source=source(events), output=quoted(ids)))


if __name__ == "__main__":
    main(*sys.argv[1:])
