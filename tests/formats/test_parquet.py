"""Parquet of any writer and layout, damaged or hostile: encodings, row groups, footers, encryption, bombs."""

import base64
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.parquet import encryption

from pipeline.errors import InputError, TooLargeError
from pipeline.formats.parquet import ParquetReader
from pipeline.formats.readers import Source
from tests import oracle, support
from tests.reading_support import GOOD, SIX, blocks, decoded, joined, write, write_bomb
from tests.support import ROOT

FILES = ROOT / "tests" / "files"
MIB = 1024 * 1024
THREE = [("a", "video_25", 1617393003), ("b", "video_25", 1617393004), ("c", "video_50", 1617393005)]
TWO = [("a", "impressions", 1617393003), ("b", "video_25", 1617393004)]
WRITTEN: dict[str, tuple[list[Any], list[int]]] = {  # the events, and the rows that are none
    "bad-utf8.parquet": ([("a", "impressions", 1617393003)], [1, 2]),
    "df.parquet.gzip": (SIX, []),  # pandas
    "duck-v2.parquet": (SIX, []),
    "enum-three.parquet": (THREE, []),  # DuckDB: a dictionary page with empty entries, several times
    "go-enum.parquet": (TWO, []),  # parquet-go
    "go-plain.parquet": (TWO, []),
    "null-count-zero.parquet": ([("a", "impressions", 1617393003), ("c", "impressions", 1617393003)], [1, 3]),
}
MIXED = ("duckdb-mixed-v1", "duckdb-mixed-v2", "duckdb-enum-v1", "duckdb-enum-v2")
MIXED += ("polars-mixed", "polars-categorical", "polars-enum", "polars-plain")
WRITTEN.update((f"{name}.parquet", (SIX, [6, 7, 8, 9, 10, 11])) for name in MIXED)


@pytest.mark.parametrize("name", WRITTEN)
def test_files_of_other_writers(name: str) -> None:
    batch = decoded(FILES / name)
    events, rejects = WRITTEN[name]
    assert support.batch_rows(batch) == events
    assert [reject.index for reject in batch.rejects] == rejects


NULLS = [
    (column, nullable, nulls, statistics)
    for column in ("id", "event", "timestamp")
    for nullable, nulls in ((False, 0), (True, 0), (True, 1), (True, 2))
    for statistics in ("none", "right", *(("wrong",) if nulls and column != "timestamp" else ()))
]


@pytest.mark.parametrize(("column", "nullable", "nulls", "statistics"), NULLS)
def test_nulls_are_rejects_whatever_the_footer_says(
    column: str, nullable: bool, nulls: int, statistics: str, tmp_path: Path
) -> None:
    """decoded() reads with and without ids."""
    rows = [dict(zip(("id", "event", "timestamp"), row, strict=True)) for row in THREE]
    for row in rows[3 - nulls :]:
        row[column] = None
    kinds = {"id": pa.string(), "event": pa.string(), "timestamp": pa.int64()}
    schema = pa.schema([pa.field(name, kind, nullable) for name, kind in kinds.items()])
    path = tmp_path / "a"
    pq.write_table(
        pa.Table.from_pylist(rows, schema), path, write_statistics=statistics != "none", use_dictionary=False
    )
    if statistics == "wrong":
        data, null_count = path.read_bytes(), b"\x36" + bytes([2 * nulls])
        assert null_count in data
        path.write_bytes(data.replace(null_count, b"\x36\x00"))
    batch = decoded(path)
    assert support.batch_rows(batch) == THREE[: 3 - nulls]
    assert [reject.index for reject in batch.rejects] == list(range(3 - nulls, 3))
    assert all(f"{column} must be" in reject.reason for reject in batch.rejects)


def test_splits_can_be_read_by_several_threads_at_once(tmp_path: Path) -> None:
    """Each split is opened anew, for which pyarrow asks the shared file for its size."""
    rows = [(f"id-{number}", "video_25", 1617393003 + number) for number in range(4000)]
    write(tmp_path / "a", rows, row_group_size=20)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with (tmp_path / "a").open("rb") as file, ThreadPoolExecutor(8) as pool:
            reader = ParquetReader(Source(file, "a", os.path.getsize(file.name)), split_bytes=1)
            found = list(pool.map(lambda split: list(reader.read_split(split)), range(reader.splits)))
    finally:
        sys.setswitchinterval(before)
    assert len(found) == 200
    assert support.batch_rows(joined([block for split in found for block in split], True)) == rows


def tried(path: Path) -> None:
    """Reads a file, which gives events or says why not. (pyarrow could end the process.)"""
    for want_ids in (True, False):
        with contextlib.suppress(InputError):
            joined(list(blocks(path)), want_ids)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*WRITTEN]), st.integers(0, 10**9), st.integers(0, 255), st.sampled_from(("set", "in", "out")))
def test_a_byte_that_is_wrong(tmp_path_factory: Any, name: str, at: int, byte: int, change: str) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a"
    data = bytearray((FILES / name).read_bytes())
    at %= len(data)
    data[at : at + (change != "in")] = b"" if change == "out" else bytes([byte])
    path.write_bytes(data)
    tried(path)


def test_columns_that_the_footer_gives_two_types(tmp_path: Path) -> None:
    """pyarrow's access to the metadata of such a column ends the process."""
    write(tmp_path / "a", SIX)
    data = (tmp_path / "a").read_bytes()
    text_column, encodings = b"\x15\x0c", b"\x19"
    assert data.count(text_column + encodings) == 2
    (tmp_path / "a").write_bytes(data.replace(text_column + encodings, b"\x15\x7e" + encodings))
    tried(tmp_path / "a")


def test_pages_with_fewer_rows_than_the_footer_says() -> None:
    with pytest.raises(InputError, match=r"^a: damaged Parquet: row group 0 has 4 rows, the footer says 5$"):
        list(blocks(FILES / "rows-lie-5.parquet"))


def test_row_groups_of_other_sizes_than_the_file_says(tmp_path: Path) -> None:
    write(tmp_path / "a", SIX, row_group_size=3)
    data = (tmp_path / "a").read_bytes()
    rows = b"\x16\x0c\x19\x2c"  # of the file: 6, then a list of two row groups
    assert data.count(rows) == 1
    (tmp_path / "a").write_bytes(data.replace(rows, b"\x16\x0e\x19\x2c"))
    with pytest.raises(InputError, match="row groups have 6 rows, the footer says 7"):
        list(blocks(tmp_path / "a"))


def test_a_page_whose_checksum_is_wrong(tmp_path: Path) -> None:
    write(tmp_path / "a", SIX, compression="none", use_dictionary=False, write_page_checksum=True)
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(data.replace(b"video_50", b"video_75", 1))
    with pytest.raises(InputError, match=r"^a: damaged Parquet: row group 0: .*CRC"):
        list(blocks(tmp_path / "a"))


@pytest.mark.parametrize("size", [4, 20, 200, -1])
def test_a_file_that_breaks_off_is_damaged(size: int, tmp_path: Path) -> None:
    write(tmp_path / "a", SIX)
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:size])
    with pytest.raises(InputError, match=r"^a: damaged Parquet: "):
        list(blocks(tmp_path / "a"))


class _Kms(encryption.KmsClient):  # type: ignore[misc]
    """Wraps keys in nothing."""

    def wrap_key(self, key: bytes, _: str) -> bytes:
        return base64.b64encode(key)

    def unwrap_key(self, key: bytes, _: str) -> bytes:
        return base64.b64decode(key)


@pytest.mark.parametrize("plaintext_footer", [True, False])
@pytest.mark.parametrize("columns", [["id"], ["id", "event", "timestamp"]])
def test_encrypted_parquet(plaintext_footer: bool, columns: list[str], tmp_path: Path) -> None:
    """pyarrow's access to the metadata of an encrypted column ends the process."""
    setup = encryption.EncryptionConfiguration(
        "footer", column_keys={"key": columns}, plaintext_footer=plaintext_footer
    )
    factory = encryption.CryptoFactory(lambda _: _Kms())
    keys = factory.file_encryption_properties(encryption.KmsConnectionConfig(), setup)
    write(tmp_path / "a", SIX, encryption_properties=keys)
    with pytest.raises(InputError, match=r"^a: .* encrypted Parquet$"):
        list(blocks(tmp_path / "a"))


class _FailsLater(io.BytesIO):
    """A file whose disk fails once its footer is read."""

    fails = False

    def read(self, size: int | None = -1) -> bytes:
        if self.fails:
            raise OSError(5, "Input/output error")
        return super().read(size)


def test_a_disk_that_fails_is_no_damage(tmp_path: Path) -> None:
    write(tmp_path / "a", SIX)
    stream = _FailsLater((tmp_path / "a").read_bytes())
    reader = ParquetReader(Source(stream, "a", len(stream.getvalue())))
    stream.fails = True
    with pytest.raises(OSError, match="Input/output error"):
        list(reader.read_split(0))


class _Counted(io.BytesIO):
    """A file that counts the bytes read of it."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def test_other_columns_are_not_read(tmp_path: Path) -> None:
    names = ("id", "event", "timestamp")
    columns: dict[str, Any] = dict(zip(names, zip(*SIX, strict=True), strict=True))
    columns |= {"id.more": [os.urandom(MIB) for _ in SIX]}
    pq.write_table(pa.table(columns), tmp_path / "a", compression="none", row_group_size=1)
    stream = _Counted((tmp_path / "a").read_bytes())
    reader = ParquetReader(Source(stream, "a", len(stream.getvalue())))
    assert (
        support.batch_rows(joined([b for part in range(reader.splits) for b in reader.read_split(part)], True)) == SIX
    )
    assert stream.count < MIB


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a\udce9"
    write(tmp_path / "b", SIX)
    (tmp_path / "b").rename(path)
    assert support.batch_rows(decoded(path)) == SIX


@settings(max_examples=100, deadline=None)
@given(st.lists(GOOD, min_size=1, max_size=60), st.sampled_from((1, 20, 1 << 20)), st.sampled_from((1, 30, 1 << 20)))
def test_a_dictionary_page_with_an_entry_twice(tmp_path_factory: Any, rows: list[Any], page: int, limit: int) -> None:
    """As Arrow's plain reading has it. (Its own dictionaries go wrong.)"""
    path = tmp_path_factory.mktemp("double") / "a"
    options = {"compression": "none", "data_page_size": page, "dictionary_pagesize_limit": limit}
    write(path, rows, **options, use_dictionary=["event"])
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    data = bytearray(path.read_bytes())
    end = column.data_page_offset
    data[:end] = data[:end].replace(b"video_75", b"video_25").replace(b"video_50", b"video_25")
    path.write_bytes(data)
    assert support.batch_rows(decoded(path)) == [tuple(row.values()) for row in pq.read_table(path).to_pylist()]


@pytest.mark.parametrize("groups", [0, 1, 3])
def test_files_without_rows(groups: int, tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.string()), ("event", pa.string()), ("timestamp", pa.int64())])
    with pq.ParquetWriter(tmp_path / "a", schema) as writer:
        for _ in range(groups):
            writer.write_table(schema.empty_table())
    assert pq.ParquetFile(tmp_path / "a").num_row_groups == groups
    assert decoded(tmp_path / "a").read == 0


def test_small_row_groups_are_read_in_large_runs(tmp_path: Path) -> None:
    """Each part opens the file: 10,000 parts of 2 rows took 24 s, and each block costs a runner 0.1 ms."""
    rows = [(f"id-{k}", oracle.EVENTS[k % 6], k) for k in range(5000)]
    write(tmp_path / "a", rows, row_group_size=2)
    size = (tmp_path / "a").stat().st_size
    assert len(list(blocks(tmp_path / "a"))) == 1
    in_parts = list(blocks(tmp_path / "a", size // 3 + 1))
    assert len(in_parts) == 3
    assert support.batch_rows(joined(in_parts, True)) == rows
    assert [block.span for block in in_parts] == [(0, 1666), (1666, 3332), (3332, 5000)]


_pools: list[pa.MemoryPool] = []  # which must live as long as any array


@contextlib.contextmanager
def arrow_bytes_below(limit: int) -> Iterator[None]:
    """Arrow allocates less than limit at any time."""
    usual = pa.default_memory_pool()
    watched = pa.proxy_memory_pool(usual)
    _pools.append(watched)
    pa.set_memory_pool(watched)
    try:
        yield
    finally:
        pa.set_memory_pool(usual)
    assert watched.max_memory() < limit


def _long_ids(path: Path, encoding: str) -> None:
    """1 GB of ids in 100 to 300 KB, without a dictionary."""
    schema = pa.schema([("id", pa.string()), ("event", pa.string()), ("timestamp", pa.int64())])
    options = {"compression": "zstd", "use_dictionary": False, "column_encoding": {"id": encoding}}
    with pq.ParquetWriter(path, schema, store_schema=False, **options) as writer:
        for _ in range(10):
            columns = [["x" * 100_000] * 1000, ["video_25"] * 1000, [1617393003] * 1000]
            writer.write_table(pa.table(columns, schema))


def _last_group(path: Path) -> None:
    """A row group with small ids, then a bomb."""
    write_bomb(path)
    bomb = pq.read_table(path, read_dictionary=["id", "event"])
    small = bomb.set_column(0, "id", pa.array([f"{k}" for k in range(10_000)]).dictionary_encode())
    with pq.ParquetWriter(path, bomb.schema, store_schema=False) as writer:
        writer.write_table(small)
        writer.write_table(bomb)


def _in_between(path: Path) -> None:
    """In one row group, small ids and then one long id in all rows."""
    write_bomb(path)
    bomb = pq.read_table(path, read_dictionary=["id", "event"])
    indices = np.concatenate([np.arange(5000), np.full(5000, 5000)]).astype(np.int32)
    ids = pa.DictionaryArray.from_arrays(indices, pa.array([f"{k}" for k in range(5000)] + ["x" * 100_000]))
    pq.write_table(bomb.set_column(0, "id", ids), path, store_schema=False, write_statistics=False)


BOMBS = {
    "dictionary": write_bomb,
    "last row group": _last_group,
    "after small ids": _in_between,
    "events": lambda path: write_bomb(path, id_bytes=1, kind="x" * 100_000),
    "plain": lambda path: _long_ids(path, "PLAIN"),
    "prefixes": lambda path: _long_ids(path, "DELTA_BYTE_ARRAY"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_few_bytes_that_stand_for_gigabytes(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    BOMBS[name](path)
    assert path.stat().st_size < MIB
    counted = 0
    with arrow_bytes_below(150 * MIB):
        for block in blocks(path):
            batch = block.decode(False, 0)
            counted += batch.read
            assert batch.nbytes < MIB
    assert counted >= 10_000
    with arrow_bytes_below(150 * MIB), pytest.raises(TooLargeError, match=f"^a: has more than {MIB} bytes after"):
        list(blocks(path, limit=MIB))


def test_a_limit_that_a_file_keeps(tmp_path: Path) -> None:
    write(tmp_path / "a", SIX * 1000)
    assert joined(list(blocks(tmp_path / "a", limit=MIB)), True).read == 6000
    with pytest.raises(TooLargeError):
        list(blocks(tmp_path / "a", limit=100_000))
