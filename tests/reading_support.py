"""What tests of reading files share."""

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from pipeline.formats.decoding import AnyBlock
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
