"""What the batch graph shuffles: bytes grow with hours, event types, blocks and different ids, not with events."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import execution

from pipeline.batch import graph as report
from pipeline.batch.graph import Job
from pipeline.batch.run import run_job
from pipeline.engine.runners import beam_options
from pipeline.formats.blocks import BLOCK_BYTES
from pipeline.formats.decoding import AnyBlock
from pipeline.storage.files import InputFile
from tests.support import EVENT_TYPES

HOUR_BYTES = 100  # of an hour's six counts, with all that Beam adds


@contextmanager
def counted_shuffle() -> Iterator[Callable[[], int]]:
    """Counts the bytes that Beam's embedded engine keeps between stages: what a cluster shuffles."""
    sizes = []

    def counting(append: Callable[[object, bytes], None]) -> Callable[[object, bytes], None]:
        def count_and_append(buffer: object, data: bytes) -> None:
            sizes.append(len(data))
            append(buffer, data)

        return count_and_append

    with (
        mock.patch.object(execution.GroupingBuffer, "append", counting(execution.GroupingBuffer.append)),
        mock.patch.object(execution.ListBuffer, "append", counting(execution.ListBuffer.append)),
    ):
        yield lambda: sum(sizes)


def shuffled(folder: Path, events: int, hours: int = 24, ids: int | None = None) -> int:
    """Bytes shuffled for a report of events; ids: how many different ones, None: no list of them."""
    source = folder / "events.jsonl"
    with open(source, "w") as lines:
        for k in range(events):
            identity, timestamp = f"id-{k % (ids or events):08}", k * hours // events * 3600
            lines.write(f'{{"id": "{identity}", "event": "{EVENT_TYPES[k % 6]}", "timestamp": {timestamp}}}\n')
    files = (InputFile(str(source), source.stat().st_size, source.name),)
    ids_output = None if ids is None else str(folder / "ids.txt")
    with counted_shuffle() as total:
        assert run_job(Job(files, str(folder / "r.csv"), ids_output=ids_output), beam_options([])).counted == events
        return total()


def test_counts_grow_with_hours_and_blocks_not_with_events(tmp_path: Path) -> None:
    few, many = shuffled(tmp_path, 10_000), shuffled(tmp_path, 300_000)
    blocks = -(-(tmp_path / "events.jsonl").stat().st_size // BLOCK_BYTES)
    assert blocks > 4
    assert many - few < blocks * 24 * HOUR_BYTES
    assert many < 100_000


def test_one_hour_with_all_events_is_six_numbers(tmp_path: Path) -> None:
    assert shuffled(tmp_path, 300_000, hours=1) <= shuffled(tmp_path, 300_000, hours=24)


def test_twenty_years_of_hours_are_bounded_by_hours(tmp_path: Path) -> None:
    hours = 20 * 366 * 24
    assert shuffled(tmp_path, hours, hours=hours) < 3 * hours * HOUR_BYTES


def test_ids_grow_with_different_ids_and_blocks(tmp_path: Path) -> None:
    without, with_ids = shuffled(tmp_path, 300_000), shuffled(tmp_path, 300_000, ids=1000)
    blocks = -(-(tmp_path / "events.jsonl").stat().st_size // BLOCK_BYTES)
    assert with_ids - without < (blocks + 2) * 1000 * 20 + 128 * 200


def test_a_graph_that_shuffles_events_is_caught(tmp_path: Path) -> None:
    """The tests' own check: with blocks shuffled before they are decoded, the first bound does not hold."""

    class Careless(report.ReadBlocks):
        def expand(self, files: beam.PCollection[InputFile]) -> beam.PCollection[AnyBlock]:
            return super().expand(files) | "Spread blocks" >> beam.Reshuffle()

    with mock.patch.object(report, "ReadBlocks", Careless):
        assert shuffled(tmp_path, 100_000) > 5_000_000
