"""Files by their format: compressed, whole or cut, of names that say what they are or not."""

import bz2
import gzip
import json
import tracemalloc
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.model.events import Batch
from pipeline.transforms import read as sources
from pipeline.transforms.opening import open_file
from tests.reading_support import CODECS, EVENTS, ROWS, columns, decode_any, make, parquet, read, rows, zstd
from tests.support import event, json_lines, line


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("shape", ["lines", "array", "object", "cr", "empty", "nothing"])
def test_compressed(suffix: str, shape: str, tmp_path: Path) -> None:
    data = {
        "lines": json_lines(EVENTS),
        "cr": json_lines(EVENTS).replace(b"\n", b"\r\n"),
        "array": json.dumps(EVENTS).encode(),
        "object": json.dumps({"mock_for_test": EVENTS}, indent=1).encode(),
        "empty": b"[]",
        "nothing": b"",
    }[shape]
    file = make(tmp_path / f"a{suffix}", CODECS[suffix](data))
    for split_bytes in (100, 1 << 22):
        assert rows(read(file, split_bytes)) == ([] if shape in ("empty", "nothing") else ROWS)


@pytest.mark.parametrize("suffix", CODECS)
def test_members_of_more_bytes_than_are_decompressed_at_a_time(suffix: str, tmp_path: Path) -> None:
    data = json_lines([event(f"id-{k:032}", "video_25", k) for k in range(20_000)])
    batch = read(make(tmp_path / f"a{suffix}", 2 * CODECS[suffix](data)))
    assert batch.timestamps.tolist() == 2 * list(range(20_000))


@pytest.mark.parametrize("suffix", CODECS)
def test_what_is_decompressed_of_few_bytes_is_read_block_by_block(suffix: str, tmp_path: Path) -> None:
    file = make(tmp_path / f"a{suffix}", CODECS[suffix](b"\n" * 64_000_000 + line()))
    tracemalloc.start()
    with open_file(file) as reader:
        assert sum(len(block.decode(True, None).codes) for block in reader.read_split(0)) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000


@pytest.mark.parametrize("suffix", CODECS)
def test_members_of_no_bytes_are_allowed(suffix: str, tmp_path: Path) -> None:
    pack = CODECS[suffix]
    data = json_lines(EVENTS)
    for members in (pack(b"") + pack(data), pack(data) + pack(b""), pack(data[:99]) + pack(b"") + pack(data[99:])):
        assert rows(read(make(tmp_path / f"a{suffix}", members))) == ROWS


@pytest.mark.parametrize("suffix", CODECS)
def test_a_truncated_file_is_an_error_wherever_it_ends(suffix: str, tmp_path: Path) -> None:
    packed = CODECS[suffix](json_lines(EVENTS))
    for data in (packed, packed + CODECS[suffix](line())):
        for size in {1, 5, 10, 18, len(packed) // 2, len(packed) - 9, len(packed) - 4, len(packed) - 1, len(data) - 1}:
            if size != len(packed):
                with pytest.raises(InputError, match=f"a{suffix}: cannot be read: "):
                    read(make(tmp_path / f"a{suffix}", data[:size]))


@pytest.mark.parametrize("suffix", CODECS)
def test_a_compressed_file_of_no_bytes_is_truncated(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"a{suffix}: empty file; expected compressed data"):
        read(make(tmp_path / f"a{suffix}", b""))


@pytest.mark.parametrize("suffix", CODECS)
def test_a_damaged_file_is_an_error(suffix: str, tmp_path: Path) -> None:
    packed = CODECS[suffix](json_lines(EVENTS))
    for at in range(len(packed) // 3, len(packed) - 8, len(packed) // 7):
        damaged = bytearray(packed)
        damaged[at] ^= 0x55
        with pytest.raises(InputError, match=f"a{suffix}: "):
            read(make(tmp_path / f"a{suffix}", bytes(damaged)))


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize(
    "rest", [b"garbage, not a member", b"\x01" * 100, b"\0" * 512 + b"x"], ids=["text", "bytes", "behind zeros"]
)
def test_something_after_the_last_member_is_an_error(suffix: str, rest: bytes, tmp_path: Path) -> None:
    file = make(tmp_path / f"a{suffix}", CODECS[suffix](json_lines(EVENTS)) + rest)
    with pytest.raises(InputError, match=f"a{suffix}: cannot be read: "):
        read(file)


def packed(data: bytes) -> dict[str, bytes]:
    return {"gzip": gzip.compress(data), "bzip2": bz2.compress(data), "zstd": zstd(data), "plain": data}


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "zstd", "plain"])
@pytest.mark.parametrize("name", ["a", "x.jsonl.gzip", "x.jsonl.bgz", "a.txt"])
@pytest.mark.parametrize("split_bytes", [100, 1 << 22])
def test_a_name_that_says_nothing_leaves_it_to_the_content(
    kind: str, name: str, split_bytes: int, tmp_path: Path
) -> None:
    for data in (json_lines(EVENTS), json.dumps(EVENTS).encode()):
        file = make(tmp_path / name, packed(data)[kind])
        assert rows(read(file, split_bytes)) == ROWS
        dofn = sources._ReadBlocks(split_bytes, keep_broken=False)
        parts = list(dofn.split(file, dofn.initial_restriction(file)))
        found = [block for part in reversed(parts) for block in dofn.process(file, dofn.create_tracker(part))]
        assert rows(Batch.concat([decode_any(block) for block in found])) == ROWS


@pytest.mark.parametrize("split_bytes", [100, 1 << 22])
def test_parquet_under_any_name(split_bytes: int, tmp_path: Path) -> None:
    for name in ("df.parquet.gzip", "a", "a.pq"):
        assert rows(read(parquet(tmp_path / name, columns(EVENTS), row_group_size=70), split_bytes)) == ROWS


def test_what_a_compressed_file_holds_is_looked_at_too(tmp_path: Path) -> None:
    table = parquet(tmp_path / "a.parquet", columns(EVENTS))
    for data, what in (
        (Path(table.path).read_bytes(), "it is Parquet inside another compression"),
        (gzip.compress(json_lines(EVENTS)), "it looks like gzip"),
        (b"a,b,c", "it looks like CSV"),
    ):
        for name in ("a.gz", "a"):
            with pytest.raises(InputError, match=f"{name}: cannot be read: {what}"):
                read(make(tmp_path / name, gzip.compress(data)))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a.csv", ".csv"),
        ("a.csv.gz", ".csv"),
        ("A.TSV.zst", ".tsv"),
        ("a.xlsx.bz2", ".xlsx"),
        ("x.json.zip", ".zip"),
        ("a.avro", ".avro"),
        ("a.parquet.gz", "Parquet"),
        ("a.tar", ".tar"),
        ("a.csv.bgz", None),
        ("csv", None),
    ],
)
def test_a_name_that_promises_what_the_content_is_not(name: str, says: str | None, tmp_path: Path) -> None:
    pack = CODECS.get(Path(name).suffix.lower(), bytes)
    for data in (json_lines(EVENTS), b"\xef\xbb\xbf" + json.dumps(EVENTS).encode()):
        file = make(tmp_path / name, pack(data))
        if says is None:
            assert rows(read(file)) == ROWS
        else:
            with pytest.raises(
                InputError, match=f"^{name}: .* the suffix is that of {says}, but the content looks like JSON$"
            ):
                read(file)


def test_of_a_name_that_says_what_cannot_be_read_that_is_said(tmp_path: Path) -> None:
    csv = b"id,event,timestamp\na,b,1\n"
    for name, data in (("a.csv", csv), ("a.csv.gz", gzip.compress(csv))):
        with pytest.raises(InputError, match=f"^{name}: cannot be read: it looks like CSV; events are "):
            read(make(tmp_path / name, data))
    with pytest.raises(InputError, match=r"the suffix is that of \.csv, but the content looks like Parquet"):
        read(parquet(tmp_path / "a.csv", columns(EVENTS)))
