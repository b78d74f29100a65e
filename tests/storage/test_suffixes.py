"""What the suffix of an output says of its format."""

import pytest

from pipeline import hourly_table, write_csv
from pipeline.errors import UsageError
from pipeline.storage.compression import Kind, check_suffix

RIGHT: list[tuple[Kind, str]] = [
    ("CSV", "r.csv r r.csv.gz r.csv.zst r.txt R.CSV.GZ r.gz .csv a.b.csv r.2021-04-02 - gs://b/r.csv.gz r.gz.csv"),
    ("ids", "ids.txt ids ids.csv ids.txt.gz ids.zst"),
    ("JSON Lines", "r.jsonl r.json r.ndjson r.jsonl.gz r.txt r"),
]
WRONG: list[tuple[Kind, str]] = [
    ("CSV", "r.parquet r.json r.jsonl r.xlsx r.csv.bz2 r.csv.xz r.zip r.tsv r.tar.gz r.csv.gz.gz r.zst.gz r.json.gz"),
    ("ids", "ids.json ids.jsonl ids.parquet ids.txt.bz2 ids.xlsx"),
    ("JSON Lines", "r.csv r.csv.gz r.parquet r.jsonl.bz2 a/b.PARQUET"),
]


@pytest.mark.parametrize(("kind", "path"), [(kind, path) for kind, paths in RIGHT for path in paths.split()])
def test_right(kind: Kind, path: str) -> None:
    check_suffix(path, kind)


@pytest.mark.parametrize(("kind", "path"), [(kind, path) for kind, paths in WRONG for path in paths.split()])
def test_wrong(kind: Kind, path: str) -> None:
    with pytest.raises(UsageError, match=f"{path}: suffix .[a-z0-9]+, but this output is "):
        check_suffix(path, kind)


def test_write_csv_refuses_too() -> None:
    with pytest.raises(UsageError, match=r"r\.parquet: suffix \.parquet"):
        write_csv(hourly_table([]), "r.parquet")
