"""A file an hour: its name, its ids, and that only what is newer replaces it; and rejects in few files, each once."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from typing import Any
from unittest import mock

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing import test_stream

from pipeline.engine.local_run import local_run
from pipeline.model.events import Reject
from pipeline.storage.atomic import atomic_file
from pipeline.stream import hour_files
from pipeline.stream.hour_files import AtPace, WriteHours, WriteRejects, final_hours, hour_name
from tests import support


@pytest.mark.parametrize(
    ("offset", "name"),
    [
        (3600, "2021-04-02T20+0100"),
        (0, "2021-04-02T19+0000"),
        (19800, "2021-04-03T01+0530"),
        (-12600, "2021-04-02T16-0330"),
        (-64800, "2021-04-02T01-1800"),
    ],
)
def test_the_name_of_an_hour(offset: int, name: str) -> None:
    hour = (1617393003 + offset) // 3600 * 3600 - offset
    assert hour_name(support.clock(offset).label(hour)) == name


def test_the_name_of_an_hour_in_the_year_10000() -> None:
    assert hour_name(support.clock(7200).label(253402297200)) == "10000-01-01T01+0200"


def write(folder: Path, versions: list[Any], goes_on: bool = False) -> list[str]:
    """Writes versions in this order; what was written."""
    written: list[str] = []
    with support.beam_pipeline("DirectRunner") as pipeline:
        paths = pipeline | beam.Create(versions, reshuffle=False) | WriteHours(str(folder), "token", goes_on)
        _ = paths | beam.Map(support.Collect(written))
    return written


def test_only_what_holds_more_replaces_a_file(tmp_path: Path) -> None:
    versions = [("a", (2, b"two")), ("b", (1, b"one")), ("a", (1, b"one")), ("a", (2, b"again")), ("b", (3, b"three"))]
    written = write(tmp_path, versions)
    assert [os.path.basename(path) for path in written if path.endswith("a")] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"two"
    assert (tmp_path / "b").read_bytes() == b"three"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_the_first_version_replaces_what_was_there_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"of an earlier run, with much more in it")
    write(tmp_path, [("a", (1, b"new"))])
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.csv", lambda n: b"hour,x,y,scaled\n2021,%d,2,0.1\n" % (n - 2)), ("a.txt", lambda n: b"id\n" * n)],
)
def test_a_smaller_number_does_not_replace_a_larger_one_of_an_earlier_run(
    name: str, data: Callable[[int], bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / name).write_bytes(data(7))
    local_run.clear()
    write(tmp_path, [(name, (30, data(3))), (name, (60, data(6)))])
    assert (tmp_path / name).read_bytes() == data(7)
    assert local_run.held_back == {f"{tmp_path}/{name}": 60}
    assert [record.message for record in caplog.records if record.name.startswith("pipeline")] == [
        f"{tmp_path}/{name}, of an earlier run, holds more (7) than this run has so far (3): "
        "it stays until this one has as many; so do others"
    ]
    write(tmp_path, [(name, (70, data(8)))])
    assert (tmp_path / name).read_bytes() == data(8)
    assert local_run.held_back == {}


def report(number: int) -> bytes:
    return b"hour,x,scaled\n2021,%d,0.1\n" % number


@pytest.mark.parametrize("order", list(permutations([(2, report(2)), (3, report(3)), (5, report(5)), 3])))
def test_a_report_is_final_when_all_its_versions_came(order: tuple[Any, ...], tmp_path: Path) -> None:
    written: list[bool] = []
    with mock.patch.object(hour_files, "atomic_file", _noting(written, tmp_path / "a.final")):
        write(tmp_path, [("a.csv", content) for content in order])
    assert (tmp_path / "a.csv").read_bytes() == report(5)
    assert (tmp_path / "a.final").read_bytes() == b""
    assert (written[-1], any(written[:-1])) == (True, False)  # it comes last


def _noting(written: list[bool], mark: Path) -> Any:
    @contextlib.contextmanager
    def noting(path: str, token: str) -> Iterator[Any]:
        written.append(path == str(mark))
        with atomic_file(path, token) as stream:
            yield stream

    return noting


def test_what_was_written_of_a_final_report_is_forgotten(tmp_path: Path) -> None:
    versions = [("a.csv", (5, report(5))), ("a.csv", 1)]
    write(tmp_path, versions)
    (tmp_path / "a.csv").unlink()
    write(tmp_path, [*versions, ("a.csv", (2, report(2)))])
    assert (tmp_path / "a.csv").read_bytes() == report(5)  # the file says so, the state is empty
    assert local_run.held_back == {f"{tmp_path}/a.csv": 2}


def test_open_reports_and_lists_of_ids_are_not_marked(tmp_path: Path) -> None:
    write(
        tmp_path,
        [("a.csv", (5, report(5))), ("a.csv", 2), ("b.csv", (1, report(1))), ("a.txt", (1, b"x\n")), ("a.txt", 1)],
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.txt", "b.csv"]


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_mark_of_an_earlier_run_goes_before_its_report_is_rewritten(goes_on: bool, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(report(5))
    (tmp_path / "a.final").touch()
    write(tmp_path, [("a.csv", (2, report(2)))], goes_on)
    assert final_hours(str(tmp_path)) == {"a"}  # it was not rewritten
    write(tmp_path, [("a.csv", (5, report(5)))], goes_on)
    assert final_hours(str(tmp_path)) == ({"a"} if goes_on else set())


def test_a_report_of_an_earlier_run_that_stays_is_not_marked(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(report(5))
    write(tmp_path, [("a.csv", (2, report(2))), ("a.csv", 1)])
    assert final_hours(str(tmp_path)) == set()


MINUTE = 1617393000  # 2021-04-02T19:50:00Z
FILE = "2021-04-02T19-50Z.jsonl"


def blocks_of(number: int, raw: str = "x") -> list[tuple[int, tuple[Reject, ...]]]:
    """So many blocks with a reject each, of three minutes."""
    return [(MINUTE + k % 180, (Reject(f"file {k}", 0, None, "no event", raw),)) for k in range(number)]


def streaming() -> beam.Pipeline:
    """On the engine here that knows triggers by the clock."""
    return beam.Pipeline("BundleBasedDirectRunner", options=PipelineOptions(["--streaming"]))


def write_rejects(folder: Path, blocks: list[tuple[int, tuple[Reject, ...]]], seconds: int | None = 60) -> list[str]:
    """Writes the rejects of blocks; all lines that are there then."""
    with streaming() as pipeline:
        _ = pipeline | beam.Create(blocks, reshuffle=False) | WriteRejects(str(folder), "token", seconds)
    assert all(path.suffix == ".jsonl" for path in folder.iterdir())
    return [line for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]


def lines_of(blocks: list[tuple[int, tuple[Reject, ...]]]) -> list[str]:
    return sorted(json.dumps(dataclasses.asdict(reject)) for _, rejects in blocks for reject in rejects)


@pytest.mark.parametrize("seconds", [60, None])
def test_rejects_of_many_files_are_few_files(seconds: int | None, tmp_path: Path) -> None:
    blocks = blocks_of(10_000)
    assert sorted(write_rejects(tmp_path, blocks, seconds)) == lines_of(blocks)
    names = ["2021-04-02T19-50Z.jsonl", "2021-04-02T19-51Z.jsonl", "2021-04-02T19-52Z.jsonl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_rejects_that_come_again_are_there_once(tmp_path: Path) -> None:
    """As after a crash, when files are read again, some of which are gone and others new."""
    blocks = blocks_of(300)
    write_rejects(tmp_path, blocks[:200])
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    write_rejects(tmp_path, blocks[100:150][::-1])
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before  # nothing to add
    assert sorted(write_rejects(tmp_path, blocks[100:][::-1])) == lines_of(blocks)


def test_many_rejects_of_a_block_are_a_file(tmp_path: Path) -> None:
    many = tuple(Reject("large", k, None, "no event", "x" * 1000) for k in range(300))
    blocks = [*blocks_of(2), (MINUTE, many)]
    for _ in range(2):
        assert sorted(write_rejects(tmp_path, blocks)) == lines_of(blocks)
        assert sorted(len(path.read_text().splitlines()) for path in tmp_path.iterdir()) == [2, 300]


def test_a_minute_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [(MINUTE, rejects) for _, rejects in blocks_of(40, "x" * 900)]
    write_rejects(tmp_path, blocks[:20])
    monkeypatch.setattr(hour_files, "_MINUTE_BYTES", 25_000)
    for _ in range(2):
        assert sorted(write_rejects(tmp_path, blocks[::-1])) == lines_of(blocks)
        assert len(list(tmp_path.iterdir())) == 21


def test_a_minute_that_cannot_be_read_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(Exception, match=FILE):
        write_rejects(tmp_path, blocks_of(1))
    assert (tmp_path / FILE).is_dir()


def gathered(steps: Callable[[test_stream.TestStream], test_stream.TestStream]) -> list[list[int]]:
    values: list[list[int]] = []
    with streaming() as pipeline:
        numbers = pipeline | steps(test_stream.TestStream()).advance_watermark_to_infinity()
        pairs = numbers | beam.Map(lambda number: (None, number)).with_output_types(tuple[None, int])
        _ = pairs | AtPace(60) | beam.Values() | beam.Map(support.Collect(values))
    return [sorted(pane) for pane in values]


def test_what_comes_within_some_seconds_is_gathered() -> None:
    panes = gathered(
        lambda stream: (
            stream.add_elements([1])
            .advance_processing_time(59)
            .add_elements([2])
            .advance_processing_time(2)
            .add_elements([3])
            .advance_processing_time(30)
            .add_elements([4])
        )
    )
    assert panes == [[1, 2], [3, 4]]
