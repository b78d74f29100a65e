"""The files of a stream: their names, those of earlier runs, and rejects in few files."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing import test_stream

from pipeline.errors import UsageError
from pipeline.model.events import Reject
from pipeline.stream import StreamJob
from pipeline.stream.database import NAME
from pipeline.stream.graph import GroupIntoIntervals, WriteRejects
from pipeline.stream.run import prepare_outputs, write_final_marks
from pipeline.stream.totals import hour_name
from pipeline.transforms.write import reject_lines
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


EARLIER = ["2021-04-02T20+0100.csv", "2021-04-02T20+0100.final", NAME, f"{NAME}-wal"]
OTHERS = ["report.csv", "notes.txt", "2021-04-02.csv"]


def fill(job: StreamJob) -> None:
    """Puts files of an earlier run, and some that are none, into the job's folders."""
    names = {job.output: [*EARLIER, *OTHERS], job.ids_output: ["2021-04-02T20+0100-03-of-16.txt", "ids.txt"]}
    for folder, files in (names | {job.rejects_output: ["0" * 32 + ".jsonl", "mine.jsonl"]}).items():
        Path(folder or "").mkdir()
        for name in files:
            Path(folder or "", name).write_text("old")


@pytest.fixture
def job(tmp_path: Path) -> StreamJob:
    folders = {"ids_output": str(tmp_path / "ids"), "rejects_output": str(tmp_path / "bad")}
    return StreamJob(str(tmp_path / "out"), ledger=True, keeps_state=False, **folders)


def test_overwriting_removes_what_earlier_runs_have_written_and_nothing_else(job: StreamJob, tmp_path: Path) -> None:
    fill(job)
    prepare_outputs(dataclasses.replace(job, overwrite=True))
    left = sorted(path.name for path in tmp_path.glob("*/*"))
    assert left == sorted([*OTHERS, "ids.txt", "mine.jsonl"])


def test_reports_are_protected_unless_their_ledger_is_there(job: StreamJob, tmp_path: Path) -> None:
    fill(job)
    before = sorted(tmp_path.glob("*/*"))
    prepare_outputs(job)
    prepare_outputs(dataclasses.replace(job, ledger=False, keeps_state=True))
    with pytest.raises(UsageError, match=r"contains reports .* but no saved state is given"):
        prepare_outputs(dataclasses.replace(job, ledger=False))
    (tmp_path / "out" / f"{NAME}-wal").unlink(missing_ok=True)
    (tmp_path / "out" / NAME).write_bytes(b"")  # of a killed run: all tables are in its write-ahead log
    with pytest.raises(UsageError, match=r"out contains reports \(2021-04-02T20\+0100.csv\) but no ledger"):
        prepare_outputs(job)
    (tmp_path / "out" / NAME).unlink()
    with pytest.raises(UsageError, match=r"out contains reports \(2021-04-02T20\+0100.csv\) but no ledger"):
        prepare_outputs(job)
    assert sorted(tmp_path.glob("*/*")) == [path for path in before if path.name not in (NAME, f"{NAME}-wal")]


def test_a_folder_that_is_new_or_holds_other_files_needs_no_ledger(job: StreamJob, tmp_path: Path) -> None:
    prepare_outputs(job)
    (tmp_path / "out").mkdir()
    for name in OTHERS:
        (tmp_path / "out" / name).touch()
    prepare_outputs(job)


def test_marks_that_are_missing_are_made(job: StreamJob, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "2021-04-02T20+0100.final").touch(mode=0o600)
    write_final_marks(job, [1617390000, 1617393600])
    names = ["2021-04-02T20+0100.final", "2021-04-02T21+0100.final"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert (tmp_path / "out" / names[0]).stat().st_mode & 0o777 == 0o600  # it stays


def streaming() -> beam.Pipeline:
    """On the engine here that knows triggers by the clock."""
    return beam.Pipeline("BundleBasedDirectRunner", options=PipelineOptions(["--streaming"]))


def test_rejects_of_many_blocks_are_few_files(job: StreamJob, tmp_path: Path) -> None:
    rejects = [Reject(f"file {k}", 0, None, "no event", "x") for k in range(300)]
    pairs = [(0, reject_lines([reject])[1]) for reject in rejects]
    job = dataclasses.replace(job, ledger=False)
    with streaming() as pipeline:
        _ = pipeline | beam.Create(pairs, reshuffle=False) | WriteRejects(job)
    paths = list((tmp_path / "bad").iterdir())
    lines = [line for path in paths for line in path.read_text().splitlines()]
    assert sorted(lines) == sorted(json.dumps(dataclasses.asdict(reject)) for reject in rejects)
    assert (len(paths), {path.suffix for path in paths}) == (1, {".jsonl"})


def gathered(steps: Callable[[test_stream.TestStream], test_stream.TestStream]) -> list[list[int]]:
    values: list[list[int]] = []
    with streaming() as pipeline:
        numbers = pipeline | steps(test_stream.TestStream()).advance_watermark_to_infinity()
        pairs = numbers | beam.Map(lambda number: (None, number)).with_output_types(tuple[None, int])
        _ = pairs | GroupIntoIntervals(60) | beam.Values() | beam.Map(support.Collect(values))
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
