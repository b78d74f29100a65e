"""Arbitrary events in arbitrary arrangements of files: the report and the ids are the oracle's, byte for byte."""

import bz2
import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline import Job, find_files, run_job
from pipeline.engine.runners import beam_options
from pipeline.model.tally import Summary
from tests import documents, oracle

Events = list[dict[str, Any]]

SHAPES: dict[str, Callable[[Events], str]] = {
    "array": json.dumps,
    "indented array": lambda events: json.dumps(events, indent=2, ensure_ascii=False),
    "object": lambda events: json.dumps({"mock_for_test": events}),
    "lines": lambda events: "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in events),
    "lines with CRLF": lambda events: "\ufeff" + "\r\n\r\n".join(map(json.dumps, events)),
}
CODECS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.compress,
}


def write_files(folder: Path, events: Events, random: Random) -> None:
    """The events in arbitrary order over one to four files of arbitrary shapes and compressions."""
    shuffled = random.sample(events, len(events))
    count = random.randint(1, 4)
    for k in range(count):
        part = shuffled[k::count]
        if random.random() < 0.2:
            columns = {name: [item[name] for item in part] for name in ("id", "event", "timestamp")}
            schema = pa.schema({"id": pa.string(), "event": pa.string(), "timestamp": pa.int64()})
            pq.write_table(pa.table(columns, schema), folder / f"{k}.parquet", row_group_size=3)
            continue
        shape = random.choice(list(SHAPES))
        suffix, pack = random.choice(list(CODECS.items()))
        (folder / f"{k}.json{suffix}").write_bytes(pack(SHAPES[shape](part).encode()))


def run_arrangement(events: Events, seed: int) -> tuple[str, str]:
    """The report and the ids file of one arrangement."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        write_files(folder / "in", events, Random(seed))
        job = Job(
            tuple(find_files([str(folder / "in")])), str(folder / "report.csv"), ids_output=str(folder / "ids.txt")
        )
        summary = run_job(job, beam_options([]))
        report, ids = (folder / "report.csv").read_bytes().decode(), (folder / "ids.txt").read_bytes().decode()
        assert sorted(path.name for path in folder.iterdir()) == ["ids.txt", "in", "report.csv"]
    assert summary == Summary(len(events), len(events), 0, report.count("\n") - 1)
    return report, ids


BIG = [
    {"id": f"{k % 9_000:x}", "event": oracle.EVENTS[k % 6], "timestamp": 1617393003 + k * 77, "x": "\\" * (k % 3)}
    for k in range(16_000)
]


@settings(max_examples=5)
@given(st.lists(documents.events(), max_size=40), documents.SEEDS)
@example(events=BIG, seed=3)
@example(events=[], seed=0)
def test_any_arrangement_gives_the_oracles_report(events: Events, seed: int) -> None:
    rows = [(item["id"], item["event"], item["timestamp"]) for item in events]
    report, ids = run_arrangement(events, seed)
    assert report == oracle.report(rows)
    assert sorted(ids.split("\n")) == sorted(
        ["", *(oracle.id_line(identity)[:-1] for identity in oracle.unique_ids(rows))]
    )
    assert run_arrangement(events, seed + 1) == (report, ids)
