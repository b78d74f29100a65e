"""The portable job API on Prism: the same reports as the oracle's, with workers in this process and in a pool."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.io import WriteToText
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing import test_stream as testing
from apache_beam.transforms.window import FixedWindows, TimestampedValue

from pipeline import BatchEvents, HourlyRows, UniqueIds, hour_windows
from tests import support
from tests.documents import random_events as events
from tests.integration.servers import TOOLS, prism, worker_pool
from tests.oracle import ids_of, report_of
from tests.support import json_lines

WAYS = ("PrismRunner", "LOOPBACK", "EXTERNAL")


@pytest.fixture(scope="module", params=WAYS)
def options(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Options that lead a job to Prism."""
    folder = tmp_path_factory.mktemp("portable")
    if request.param == "PrismRunner":
        yield ["--runner=PrismRunner", f"--prism_location={TOOLS / 'prism'}"]
        return
    with prism(folder) as address:
        runner = ["--runner=PortableRunner", f"--job_endpoint={address}", f"--environment_type={request.param}"]
        if request.param == "LOOPBACK":
            yield runner
            return
        with worker_pool(folder) as pool:
            yield [*runner, f"--environment_config={pool}"]


def run(options: list[str], folder: Path, *arguments: str) -> support.Run:
    files = ("--output", str(folder / "r.csv"), "--ids_output", str(folder / "ids.txt"))
    return support.run("--input", str(folder / "in"), *files, *arguments, *options)


def test_the_report_is_the_oracles(options: list[str], tmp_path: Path) -> None:
    lines = json_lines(events(60_000))  # two cells
    array, packed = json.dumps(events(1000, 2)).encode(), json_lines(events(2000, 3))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "lines.jsonl").write_bytes(lines)
    (tmp_path / "in" / "array.json").write_bytes(array)
    (tmp_path / "in" / "packed.jsonl.gz").write_bytes(gzip.compress(packed))
    for number in range(50):
        (tmp_path / "in" / f"small-{number}.jsonl").write_bytes(json_lines(events(3, 4)))
    documents = [lines, array, packed, *[json_lines(events(3, 4))] * 50]
    (tmp_path / "in" / "bad.jsonl").write_bytes(b"{}\n")
    done = run(options, tmp_path, "--rejects_output", str(tmp_path / "rejects.jsonl"))
    assert done.status == 0, done.err
    assert done.err.startswith("63151 events read, 63150 counted, 1 rejected, ")
    assert (tmp_path / "r.csv").read_text() == report_of(*documents)
    assert set((tmp_path / "ids.txt").read_text().split()) == ids_of(*documents)
    assert len((tmp_path / "rejects.jsonl").read_text().splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"in", "r.csv", "ids.txt", "rejects.jsonl"}


def test_rejects_are_shown_without_a_traceback(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.jsonl").write_bytes(json_lines([*events(10), {}]))
    done = run(options, tmp_path)
    assert done.status == 1
    assert done.err.startswith("error: 1 of 11 records rejected: ")
    first, hint = done.err.splitlines()
    assert "missing id, event and timestamp" in first
    assert hint.startswith("hint: ")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_source_that_breaks_off_is_one_line(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.json").write_bytes(json.dumps(events(10)).encode()[:-5])
    done = run(options, tmp_path)
    assert done.status == 1
    assert done.err.startswith(f"error: {tmp_path}/in/broken.json: byte "), done.err
    assert done.err.count("\n") == 1, done.err


def test_names_that_are_not_utf_8(options: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "caf\udce9"
    (folder / "in").mkdir(parents=True)
    lines = json_lines(events(10))
    for name in ("a\udce9.jsonl", "b.jsonl"):
        (folder / "in" / name).write_bytes(lines)
    (folder / "in" / "bad\udce9.jsonl").write_bytes(b"{}\n")
    done = run(options, folder, "--rejects_output", str(folder / "rejects"))
    assert (done.status, done.err[:16]) == (0, "21 events read, "), done.err
    assert (folder / "r.csv").read_text() == report_of(lines, lines)
    assert json.loads((folder / "rejects").read_text())["source"] == f"{tmp_path}/caf\\xe9/in/bad\\xe9.jsonl"


def test_the_transforms_in_a_pipeline_of_its_own(options: list[str], tmp_path: Path) -> None:
    """Windows of an hour by the time of events give each window the rows that the report has."""
    lines = events(3000)
    with beam.Pipeline(options=PipelineOptions(options)) as pipeline:
        created = pipeline | beam.Create([*lines, {"id": "no event"}], reshuffle=False)
        timed = created | "Time" >> beam.Map(lambda item: TimestampedValue(item, item.get("timestamp", 0)))
        batches = timed | beam.WindowInto(FixedWindows(3600)) | BatchEvents()
        rows = batches | HourlyRows() | "Line" >> beam.Map(lambda row: f"{row.hour} {sum(row[1:7])}")
        ids = batches | UniqueIds()
        for name, output in {"rows": rows, "ids": ids, "errors": batches.errors | beam.Map(repr)}.items():
            _ = output | f"Write {name}" >> WriteToText(str(tmp_path / name), shard_name_template="")
    found = [line.split() for line in (tmp_path / "rows").read_text().splitlines()]
    report = [line.split(",") for line in report_of(json_lines(lines)).splitlines()[1:]]
    assert sorted(found) == sorted([hour, str(sum(map(int, counts)))] for hour, *counts, _ in report)
    assert set((tmp_path / "ids").read_text().split()) == ids_of(json_lines(lines))
    assert (tmp_path / "errors").read_text().startswith("InvalidEvent(record={'id': 'no event'}, reason='missing event")


def test_the_totals_of_hours_in_a_stream_of_its_own(options: list[str], tmp_path: Path) -> None:
    lines = [event for event in events(300) if event["timestamp"] < 1617393003 + 86400]
    messages = [TimestampedValue(json.dumps(event).encode(), event["timestamp"]) for event in lines]
    stream = testing.TestStream().add_elements(messages[:100]).advance_watermark_to(1617393003 + 86400)
    stream = stream.add_elements(messages[100:]).advance_watermark_to_infinity()
    path = str(tmp_path / "rows")

    def append(hour: str, count: int) -> None:
        with open(path, "a") as file:
            file.write(f"{hour} {count}\n")

    with beam.Pipeline(options=PipelineOptions([*options, "--streaming"])) as pipeline:
        batches = pipeline | stream | beam.WindowInto(FixedWindows(600)) | BatchEvents()
        totals = batches | HourlyRows(windows=hour_windows())
        rows = (
            totals | beam.Map(lambda row: (row.hour, sum(row[1:7]))) | "Years" >> beam.WindowInto(FixedWindows(10**9))
        )
        _ = rows | beam.CombinePerKey(max) | "Append" >> beam.MapTuple(append)
    found = [line.split() for line in (tmp_path / "rows").read_text().splitlines()]
    report = [line.split(",") for line in report_of(json_lines(lines)).splitlines()[1:]]
    assert sorted(found) == sorted([hour, str(sum(map(int, counts)))] for hour, *counts, _ in report)
