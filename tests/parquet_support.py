"""What tests of Parquet share."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from pipeline.formats import parquet
from pipeline.formats.decoding import AnyBlock
from pipeline.formats.parquet import GroupBlock, ParquetReader
from pipeline.formats.parquet_files import LocalFile, Pieces
from pipeline.formats.parquet_pages import Chunk, read_groups
from pipeline.formats.reader import Source
from pipeline.model.events import Batch
from tests import support

SIX = [
    ("c8", "video_25", 1617393003),
    ("af", "video_25", 1617400203),
    ("75", "video_25", 1617385803),
    ("a6", "video_50", 1617400203),
    ("99", "video_completed", 1617400203),
    ("d0", "video_start", 1617385803),
]


def blocks(path: Path, local: bool) -> Iterator[AnyBlock]:
    """The blocks of a file; where it is not local, as of a bucket."""
    with open(path, "rb") as stream:
        reader = ParquetReader(Source(stream, "a", path.stat().st_size, local))
        for block in (block for part in range(reader.parts) for block in reader.read_part(part)):
            assert not isinstance(block, GroupBlock) or isinstance(block.file, LocalFile if local else Pieces)
            yield block


def decoded(path: Path) -> Batch:
    """A file by each way it can be read, which all give the same."""
    ways = {
        "local": list(blocks(path, True)),
        "bucket": list(blocks(path, False)),
        "shipped": [pickle.loads(pickle.dumps(block)) for block in blocks(path, True)],
    }
    with mock.patch.multiple(parquet, GROUP_ROWS=1, ROWS_A_BLOCK=3):
        ways["rows"] = list(blocks(path, True))
    batches = {way: joined(found, True) for way, found in ways.items()}
    first = batches["local"]
    for way, found in ways.items():
        batch, counts = batches[way], joined(found, False)
        assert support.batch_rows(batch) == support.batch_rows(first), way
        assert batch.rejects == counts.rejects == first.rejects, way
        assert counts.codes.tolist() == first.codes.tolist(), way
        assert counts.timestamps.tolist() == first.timestamps.tolist(), way
        assert not len(counts.ids.ends)
    return first


def chunks(path: Path, count: int = 3) -> tuple[Chunk, ...]:
    """The columns of a file's only row group."""
    with open(path, "rb") as stream:
        groups = read_groups(stream, range(count))
    assert groups is not None
    assert len(groups) == 1
    return groups[0].chunks


def joined(found: list[AnyBlock], want_ids: bool) -> Batch:
    return Batch.concat([Batch.of([]), *(block.decode(want_ids, None) for block in found)])


KINDS = ("impressions", "video_start", "video_25", "video_50", "video_75", "video_completed")
GOOD = st.tuples(st.text(min_size=1, max_size=5), st.sampled_from(KINDS), st.integers(0, 253402297199))


def write(path: Path, rows: list[tuple[str, str, int]], **options: Any) -> None:
    columns = zip(*rows, strict=True)
    pq.write_table(pa.table(dict(zip(("id", "event", "timestamp"), columns, strict=True))), path, **options)
