"""What is shuffled by files: small values stay as they are, large ones come back whole, and no file is left."""

import stat
from pathlib import Path
from unittest import mock

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from bench.events import write
from pipeline.batch.graph import Job
from pipeline.batch.run import run_job
from pipeline.engine import spill as spilling
from pipeline.engine.runners import beam_options
from pipeline.engine.spill import Spill, SpilledValue, read_spilled
from pipeline.errors import RejectsError
from pipeline.storage.matching import find_files
from pipeline.storage.temporary import remove_own

TOKEN = "0" * 32
PAIRS = [(k % 7, b"%d," % k * (k + 1)) for k in range(100)]


def joined(pairs: list[tuple[int, bytes]]) -> list[tuple[int, str]]:
    """The bytes of each key, whatever their order."""
    keys = {key for key, _ in pairs}
    return [(key, sorted(b"".join(data for k, data in pairs if k == key).decode().split(","))) for key in sorted(keys)]


@pytest.mark.parametrize(
    ("held", "inline", "in_files"), [(1 << 30, 1 << 30, set()), (1 << 30, 0, {1}), (1000, 0, {9, 10, 11, 12, 13, 14})]
)
def test_values_come_back_whole(tmp_path: Path, held: int, inline: int, in_files: set[int]) -> None:
    def fetched(key: int, pieces: list[SpilledValue]) -> tuple[int, bytes]:
        return key, b"".join(map(read_spilled, pieces))

    with (
        mock.patch.object(spilling, "_FLUSH_BYTES", held),
        mock.patch.object(spilling, "_INLINE_BYTES", inline),
        beam.Pipeline("FnApiRunner") as pipeline,
    ):
        spill = beam.ParDo(Spill(str(tmp_path / "out"), TOKEN)).with_output_types(tuple[int, SpilledValue])
        stored = pipeline | beam.Create([[pair] for pair in PAIRS], reshuffle=False) | spill
        found = stored | beam.GroupByKey() | beam.MapTuple(fetched)
        together = found | "One" >> beam.Map(lambda pair: (0, pair)) | "All" >> beam.GroupByKey()
        assert_that(together | beam.Map(lambda group: joined(sorted(group[1]))), equal_to([joined(PAIRS)]))
    names = [path.name for path in tmp_path.iterdir()]
    assert all(name.startswith(f".out.{TOKEN}-") for name in names)
    assert len(names) in (in_files or {0})
    remove_own(str(tmp_path), TOKEN)
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_cut_off_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(b"0123456789")
    assert read_spilled((str(path), 2, 8)) == b"23456789"
    with pytest.raises(OSError, match="is truncated"):
        read_spilled((str(path), 2, 9))
    path.unlink()
    with pytest.raises(OSError, match="part"):
        read_spilled((str(path), 0, 1))


def job(tmp_path: Path) -> Job:
    (tmp_path / "out").mkdir()
    files = tuple(find_files([str(tmp_path / "events.jsonl")]))
    return Job(files, str(tmp_path / "out" / "report.csv"), ids_output=str(tmp_path / "out" / "ids.txt"))


def test_a_run_that_fails_leaves_no_files(tmp_path: Path) -> None:
    write(tmp_path / "events.jsonl", 20_000)
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b"no event\n")
    with mock.patch.object(spilling, "_INLINE_BYTES", 0), pytest.raises(RejectsError):
        run_job(job(tmp_path), beam_options([]))
    assert not list((tmp_path / "out").iterdir())


def test_what_is_spilled_can_be_read_by_this_user_alone(tmp_path: Path) -> None:
    """The output may be private, and so are its parts."""
    spill = Spill(str(tmp_path / "ids.txt"), "0" * 32)
    spill.start_bundle()
    assert list(spill.process([(0, b"x" * 100_000)])) == []
    list(spill.finish_bundle())
    (path,) = tmp_path.iterdir()
    assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_size) == (0o600, 100_000)
