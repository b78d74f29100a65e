"""What tests of reading files share: files of all forms, and ways to read them."""

import bz2
import gzip
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from hypothesis import strategies as st

from pipeline.formats.decoding import AnyBlock
from pipeline.formats.parquet import ParquetReader
from pipeline.formats.readers import Source
from pipeline.model.events import Batch
from pipeline.storage.files import InputFile
from pipeline.transforms.opening import open_file
from tests import oracle, support
from tests.support import event

EVENTS = [event(f"id-{k}", oracle.EVENTS[k % 6], k * 1000) for k in range(200)]


ROWS = sorted((item["id"], item["event"], item["timestamp"]) for item in EVENTS)


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


CODECS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstd}


def make(path: Path, data: bytes = b"") -> InputFile:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(data)
    return InputFile(str(path), len(data), path.name)


def decode_any(block: AnyBlock) -> Batch:
    return block.decode(True, None)


def read(file: InputFile, split_bytes: int = 1 << 22) -> Batch:
    """A whole file, part by part."""
    with open_file(file, split_bytes) as reader:
        batches = [decode_any(block) for part in range(reader.splits) for block in reader.read_split(part)]
    return Batch.concat([Batch.of([]), *batches])


def rows(batch: Batch) -> list[oracle.Event]:
    assert batch.rejects == ()
    return sorted(support.batch_rows(batch))


def parquet(path: Path, table: pa.Table | dict[str, Any], **options: Any) -> InputFile:
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path, **options)
    return InputFile(str(path), path.stat().st_size, path.name)


def columns(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: pa.array([item[name] for item in items]) for name in ("id", "event", "timestamp")}


SIX = [
    ("c8", "video_25", 1617393003),
    ("af", "video_25", 1617400203),
    ("75", "video_25", 1617385803),
    ("a6", "video_50", 1617400203),
    ("99", "video_completed", 1617400203),
    ("d0", "video_start", 1617385803),
]

GOOD = st.tuples(st.text(min_size=1, max_size=5), st.sampled_from(oracle.EVENTS), st.integers(0, 253402297199))


def blocks(path: Path, split_bytes: int = 1 << 22, limit: int | None = None) -> Iterator[AnyBlock]:
    """The blocks of a file, which messages call a."""
    with open(path, "rb") as stream:
        reader = ParquetReader(Source(stream, "a", path.stat().st_size), split_bytes, limit)
        for part in range(reader.splits):
            yield from reader.read_split(part)


def joined(found: list[AnyBlock], want_ids: bool) -> Batch:
    return Batch.concat([Batch.of([]), *(block.decode(want_ids, None) for block in found)])


def decoded(path: Path) -> Batch:
    """A file read whole, in parts, and shipped to another process, with and without ids: all give the same."""
    ways = {
        "whole": list(blocks(path)),
        "parts": list(blocks(path, 1)),
        "shipped": [pickle.loads(pickle.dumps(block)) for block in blocks(path)],
    }
    first = joined(ways["whole"], True)
    for way, found in ways.items():
        batch, counts = joined(found, True), joined(found, False)
        assert support.batch_rows(batch) == support.batch_rows(first), way
        assert batch.rejects == counts.rejects == first.rejects, way
        assert batch.read == counts.read == len(batch.codes) + batch.rejected, way
        assert counts.codes.tolist() == first.codes.tolist(), way
        assert counts.timestamps.tolist() == first.timestamps.tolist(), way
        assert not len(counts.ids.ends)
    return first


def write(path: Path, rows: list[tuple[Any, Any, Any]], **options: Any) -> None:
    columns = zip(*rows, strict=True)
    pq.write_table(pa.table(dict(zip(("id", "event", "timestamp"), columns, strict=True))), path, **options)


def repeated(text: str, rows: int) -> pa.DictionaryArray:
    """A column that holds a text once and repeats it."""
    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array([text]))


def write_bomb(path: Path, rows: int = 10_000, id_bytes: int = 100_000, kind: str = "video_25") -> None:
    """A file of few bytes with one long id in all rows."""
    times = pa.array(np.full(rows, 1617393003))
    table = pa.table({"id": repeated("x" * id_bytes, rows), "event": repeated(kind, rows), "timestamp": times})
    pq.write_table(table, path, compression="zstd", store_schema=False, write_statistics=False)
