"""Files of 1 to 20 blocks or row groups whose stream is killed after any number of blocks: each event counts once."""

import gzip
import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.restriction_trackers import OffsetRange
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp

from pipeline.formats.decoding import AnyBlock
from pipeline.storage.matching import find_files
from pipeline.stream import StreamJob
from pipeline.stream.decode import DecodeToLedger
from pipeline.stream.ledger import Ledger, open_ledger, path_key, signature_of
from pipeline.stream.totals import HOUR_EVENTS
from pipeline.transforms import read
from tests.support import event, json_lines

LINES = 10  # in a cell or row group
CELL_BYTES = len(json_lines([event("id-00000")])) * LINES
KEY = path_key("the file")


def contents(name: str, cells: int) -> bytes:
    events = [event(f"id-{number:05}") for number in range(cells * LINES)]
    if name.endswith("parquet"):
        stream = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(events), stream, row_group_size=LINES)
        return stream.getvalue()
    data = json_lines(events)
    if name.endswith("json"):
        data = b"[" + data.strip().replace(b"\n", b",") + b"]"
    return gzip.compress(data) if name.endswith("gz") else data


def blocks_of(path: Path, cell_bytes: int, split: bool) -> list[AnyBlock]:
    """The blocks of a file, read whole, or each part by itself as when a runner splits it."""
    (file,), reader = find_files(str(path)), read._ReadBlocks(cell_bytes, keep_broken=True)
    whole = reader.initial_restriction(file)
    parts = [OffsetRange(k, k + 1) for k in range(whole.start, whole.stop)] if split else [whole]
    return list(itertools.chain(*(reader.process(file, reader.create_tracker(part)) for part in parts)))


def run(ledger: Ledger, job: StreamJob, path: Path, blocks: Iterable[AnyBlock]) -> int:
    """Reads blocks, a bundle each, if the watch would hand the file out; returns the number of events passed on."""
    (file,) = find_files(str(path))
    if ledger.find([KEY]).get(KEY) == (signature_of(file), True):
        return 0
    ledger.start_file(file, KEY, 0)
    return sum(events for block in blocks for _, events in _bundle(job, block))


def _bundle(job: StreamJob, block: AnyBlock) -> Iterator[tuple[int, int]]:
    """Yields the number of events of each hour that is passed on."""
    decode = DecodeToLedger(job)
    decode.start_bundle()
    for output in [*decode.process(block, Timestamp(0), GlobalWindow()), *decode.finish_bundle()]:
        if output.tag == HOUR_EVENTS:
            yield output.value.value


@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz", "a.parquet"])
@pytest.mark.parametrize("cells", [1, 2, 3, 4, 7, 13, 20])
def test_a_file_that_was_read_in_part(name: str, cells: int, split: bool, tmp_path: Path) -> None:
    path, events = tmp_path / name, cells * LINES
    path.write_bytes(contents(name, cells))
    blocks = blocks_of(path, 64 if name.endswith("parquet") else CELL_BYTES, split)
    for killed_after in sorted({0, 1, len(blocks) // 2, len(blocks) - 1, len(blocks)}):
        job = StreamJob(str(tmp_path / str(killed_after)), ids_output="ids", ledger=True)
        Path(job.output).mkdir()
        counted = []
        for taken in (blocks[:killed_after], blocks[::-1], blocks):
            with open_ledger(job.output, job.settings) as ledger:
                counted.append(run(ledger, job, path, taken))
        assert (sum(counted), counted[2]) == (events, 0)
        with open_ledger(job.output, job.settings) as ledger:
            assert sum(sum(row) for row in ledger.earlier_counts.values()) == ledger.tally()["read"] == events
