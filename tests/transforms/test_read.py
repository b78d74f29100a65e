"""Reading files: split at any place, damaged, Parquet."""

import bz2
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.restriction_trackers import OffsetRange
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.formats.decoding import AnyBlock, BrokenBlock
from pipeline.model.events import Batch
from pipeline.model.tally import expected_checksum
from pipeline.storage.files import InputFile
from pipeline.storage.matching import find_files
from pipeline.transforms import read as sources
from pipeline.transforms.opening import open_file
from pipeline.transforms.read import ReadBlocks
from tests import oracle, support
from tests.reading_support import EVENTS, ROWS, columns, decode_any, make, parquet, read, rows, zstd
from tests.support import event, json_lines, line


def _replace(path: Path, data: bytes) -> None:
    path.with_suffix(".new").write_bytes(data)
    path.with_suffix(".new").rename(path)


def _write(path: Path, data: bytes) -> None:
    with path.open("r+b") as stream:
        stream.write(data[:10])


CHANGES: dict[str, Callable[[Path, bytes], None]] = {
    "another of its size": _replace,
    "a longer one": lambda path, data: _replace(path, data + data),
    "written in its place": _write,
}


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_a_file_that_changes_is_not_read_half(name: str, change: str, opened: bool, tmp_path: Path) -> None:
    """Nothing of it is read if it is not open yet. One that is open stays as it was when another takes its name."""
    path = tmp_path / name
    pq.write_table(pa.Table.from_pylist(EVENTS), tmp_path / "a.parquet", row_group_size=50)
    data = path.read_bytes() if name.endswith(".parquet") else json_lines(EVENTS)
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    os.utime(path, (1, 1))  # a change within the clock's tick would not be seen
    (file,) = find_files([str(path)])
    if not opened:
        CHANGES[change](path, path.read_bytes())

    def read_splits() -> Batch:
        with open_file(file, 300) as reader:
            assert opened, "a stream counts blocks as they are read"
            CHANGES[change](path, path.read_bytes())
            return Batch.concat([decode_any(b) for part in range(reader.splits) for b in reader.read_split(part)])

    if opened and CHANGES[change] is not _write:
        assert rows(read_splits()) == ROWS
    else:
        with pytest.raises(InputError, match=f"{name}: was modified during the run"):
            read_splits()


def test_a_file_that_grows_is_read_as_far_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(json_lines(EVENTS))
    os.utime(path, (1, 1))
    (file,) = find_files([str(path)])
    with path.open("ab") as stream:
        stream.write(json_lines(EVENTS))
    assert set(rows(read(file, 300))) == set(ROWS)


# Reading in parts.


@settings(max_examples=60)
@given(st.integers(1, 400), st.sampled_from((b"\n", b"\r\n", b"\n\n")), st.booleans())
def test_parts_of_any_size_give_each_event_once(
    tmp_path_factory: Any, split_bytes: int, end: bytes, last: bool
) -> None:
    path = tmp_path_factory.mktemp("parts") / "a.jsonl"
    file = make(path, end.join(json.dumps(item).encode() for item in EVENTS) + end * last)
    assert rows(read(file, split_bytes)) == ROWS
    with open_file(file, split_bytes) as reader:
        assert reader.splits == -(-file.size // split_bytes)


def test_parts_can_be_claimed_and_split_off_while_they_are_read(tmp_path: Path) -> None:
    """As a runner does that finds a worker too slow: the rest of its restriction goes to another."""
    file = make(tmp_path / "a.jsonl", json_lines(EVENTS))
    dofn = sources._ReadBlocks(500, keep_broken=False)
    whole = dofn.initial_restriction(file)
    assert whole == OffsetRange(0, -(-file.size // 500))
    for taken, fraction in ((1, 0.0), (2, 0.5), (5, 0.3), (10, 0.9)):
        tracker = dofn.create_tracker(whole)
        found: list[Any] = []
        rest = None
        for block in dofn.process(file, tracker):
            found.append(block)
            if len(found) == taken:
                split = tracker.try_split(fraction)
                assert split is not None
                rest = split[1]
        tracker.check_done()
        assert rest is not None
        other = dofn.create_tracker(rest)
        found += dofn.process(file, other)
        other.check_done()
        assert rows(Batch.concat([decode_any(block) for block in found])) == ROWS


def test_first_splits_cover_all_parts(tmp_path: Path) -> None:
    file = make(tmp_path / "a.jsonl", json_lines(EVENTS))
    dofn = sources._ReadBlocks(50, keep_broken=False)
    whole = dofn.initial_restriction(file)
    pieces = list(dofn.split(file, whole))
    assert len(pieces) > 5
    found = [block for piece in reversed(pieces) for block in dofn.process(file, dofn.create_tracker(piece))]
    assert rows(Batch.concat([decode_any(block) for block in found])) == ROWS
    assert sum(dofn.restriction_size(file, piece) for piece in pieces) >= file.size


@pytest.mark.parametrize("splittable", [True, False])
@pytest.mark.parametrize("split_bytes", [1, 17, 1000])
def test_in_a_pipeline_with_tiny_cells(split_bytes: int, splittable: bool, tmp_path: Path) -> None:
    files = [
        make(tmp_path / "a.jsonl", json_lines(EVENTS[:50])),
        make(tmp_path / "b.jsonl", json_lines(EVENTS[50:100])[:-1].replace(b"\n", b"\r\n")),
        make(tmp_path / "c.json", json.dumps(EVENTS[100:150]).encode()),
        make(tmp_path / "d.jsonl.gz", gzip.compress(json_lines(EVENTS[150:]))),
        make(tmp_path / "empty.jsonl"),
    ]

    def check(blocks: list[AnyBlock]) -> None:
        assert rows(Batch.concat([decode_any(block) for block in blocks])) == ROWS

    with support.beam_pipeline() as pipeline:
        assert_that(pipeline | beam.Create(files) | ReadBlocks(split_bytes, splittable=splittable), check)


def test_a_file_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    data = json_lines(EVENTS)
    file = make(tmp_path / "a.jsonl", data)
    (tmp_path / "a.jsonl").write_bytes(data[:1000])
    with pytest.raises(InputError, match=f"a.jsonl: ends at byte 1000, but had {len(data)}"):
        read(file)


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.jsonl: cannot be read"):
        read(InputFile(str(tmp_path / "a.jsonl"), 5, "a.jsonl"))


def test_parquet_in_upper_case_with_other_columns_in_other_order(tmp_path: Path) -> None:
    known = dict(reversed(columns(EVENTS).items()))
    data = {"x": pa.array([[1]] * 200), **known, "y": pa.array([None] * 200, pa.int8())}
    assert rows(read(parquet(tmp_path / "a.PARQUET", data))) == ROWS


def kept(folder: Path, name: str, data: bytes | None, listed: int | None = None) -> list[Batch]:
    """What a stream reads of a file: decoded blocks. data: None: it is not there (any more)."""
    if data is not None:
        (folder / name).write_bytes(data)
    file = InputFile(str(folder / name), len(data or b"") if listed is None else listed, name, modified=77)
    found: list[Any] = []
    with support.beam_pipeline() as pipeline:
        blocks = pipeline | beam.Create([file]) | ReadBlocks(split_bytes=256, keep_broken=True)
        _ = blocks | beam.Map(support.Collect(found))
    return [decode_as_streams_do(block) for block in found if block.arrived == 77]


def decode_as_streams_do(block: AnyBlock) -> Batch:
    try:
        return block.decode(True, None)
    except InputError as error:
        return BrokenBlock(block.source, str(error)).decode(True, None)


LINES = json_lines(EVENTS)
ARRAY = json.dumps(EVENTS).encode()
MANY = json.dumps([event(f"id-{k}", oracle.EVENTS[k % 6], k * 1000) for k in range(5000)]).encode()


def damaged_parquet() -> bytes:
    sink = pa.BufferOutputStream()
    columns = {name: [item[name] for item in EVENTS] for name in ("id", "event", "timestamp")}
    pq.write_table(pa.table(columns), sink, row_group_size=50, compression=None, use_dictionary=False)
    data = bytearray(sink.getvalue().to_pybytes())
    at = data.rindex(b"id-120")
    data[at - 4 : at] = b"\xff\xff\xff\x7f"  # the length of an id
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "data", "events", "reason"),
    [
        ("mid.json", MANY[: len(MANY) // 2], range(1, 5000), "is truncated"),
        ("head.json", b"[", range(1), "is truncated"),
        ("tail.json", ARRAY + b"x", range(200), "unexpected data after the array"),
        ("cut.jsonl.gz", gzip.compress(os.urandom(50) + LINES, mtime=0)[:-9], range(201), "cannot be read"),
        ("cut.jsonl.bz2", bz2.compress(LINES)[:-9], range(201), "cannot be read"),
        ("cut.jsonl.zst", zstd(LINES)[:-9], range(201), "cannot be read"),
        ("empty.jsonl.gz", b"", range(1), "empty file"),
        ("x.jsonl.deflate", LINES, range(1), "compression is not supported"),
        ("gone.jsonl", None, range(1), "cannot be read"),
        ("no.parquet", b"PAR1", range(1), "damaged Parquet"),
        ("bad.parquet", damaged_parquet(), range(50, 151), ""),
    ],
)
def test_what_cannot_be_read_of_a_source_is_one_reject(
    tmp_path: Path, name: str, data: bytes | None, events: range, reason: str
) -> None:
    batches = kept(tmp_path, name, data)
    broken = [reject for batch in batches for reject in batch.rejects if reason in reject.reason and not reject.raw]
    assert [reject.source for reject in broken] == [name]
    rows = [row for batch in batches for row in support.batch_rows(batch)]
    assert len(rows) in events
    assert len(rows) == len(set(rows))
    assert all(row == (f"id-{row[2] // 1000}", oracle.EVENTS[row[2] // 1000 % 6], row[2]) for row in rows)


def test_a_file_that_became_shorter_is_its_lines_and_a_reject_for_each_split_behind_them(tmp_path: Path) -> None:
    batches = kept(tmp_path, "short.jsonl", LINES, listed=len(LINES) + 10_000)
    rows = [row for batch in batches for row in support.batch_rows(batch)]
    assert sorted(rows) == ROWS
    rejects = [reject for batch in batches for reject in batch.rejects]
    assert rejects
    assert all("had" in reject.reason for reject in rejects)
    assert len({reject.offset for reject in rejects}) == len(rejects)


def test_a_whole_source_is_read_as_ever_where_broken_ones_are_kept(tmp_path: Path) -> None:
    for name, data in (("a.jsonl", LINES), ("b.json", ARRAY), ("c.jsonl.gz", gzip.compress(LINES)), ("d.jsonl", b"")):
        batches = kept(tmp_path, name, data)
        assert not any(batch.rejected for batch in batches)
        assert sorted(row for b in batches for row in support.batch_rows(b)) == (ROWS if data else [])


@pytest.mark.parametrize("split_bytes", [300, 1 << 22])
def test_a_source_that_breaks_after_its_last_whole_block_keeps_its_events(tmp_path: Path, split_bytes: int) -> None:
    """The rest is a reject, and the blocks add up to the source, as far as it was read."""
    make(tmp_path / "a.jsonl", LINES)
    file = InputFile(str(tmp_path / "a.jsonl"), len(LINES) + 5, "a.jsonl")
    dofn = sources._ReadWhole(sources._ReadBlocks(split_bytes, keep_broken=True))
    blocks = list(dofn.process(file))
    batches = [decode_any(block) for block in blocks]
    assert sorted(row for batch in batches for row in support.batch_rows(batch)) == ROWS
    assert [type(block) for block in blocks].count(BrokenBlock) == sum(batch.rejected for batch in batches) == 1
    assert blocks[-1].arrived == file.modified
    if len(blocks) == 2:  # of a file of several splits nobody knows whether all was read
        assert sum(block.coverage_delta for block in blocks) == expected_checksum([file.path])


def test_large_files_are_spread_over_workers(tmp_path: Path) -> None:
    """In ranges of splits that workers take apart; without spreading one worker reads a file at once."""
    file = make(tmp_path / "a.jsonl", LINES * 10)
    with Path(file.path).open("r+b") as stream:
        stream.truncate(192 << 20)
    dofn = sources._ReadBlocks(sources.BLOCK_BYTES, keep_broken=False)
    large = InputFile(file.path, 192 << 20, file.name)
    whole = dofn.initial_restriction(large)
    assert whole == OffsetRange(0, 48)
    assert list(dofn.split(large, whole)) == [OffsetRange(k, k + 16) for k in range(0, 48, 16)]
    for splittable, files in ((True, 1), (False, 1), (True, 300)):
        pipeline = beam.Pipeline()
        _ = pipeline | sources.ListFiles((large,) * files) | ReadBlocks(splittable=splittable)
        transforms = pipeline.to_runner_api().components.transforms.values()
        payloads = [t.spec.payload for t in transforms if t.spec.urn == "beam:transform:pardo:v1"]
        restricted = [p for p in payloads if beam_runner_api_pb2.ParDoPayload.FromString(p).restriction_coder_id]
        assert len(restricted) == splittable
        assert any("Spread" in t.unique_name for t in transforms) == (files > 1)


_bundles: list[int] = []  # of _Read; workers are threads of this process


class _Read(beam.DoFn):  # type: ignore[misc]
    def start_bundle(self) -> None:
        _bundles.append(0)

    def process(self, block: AnyBlock) -> list[int]:
        _bundles[-1] += 1
        return [block.decode(False, None).read]


@pytest.mark.parametrize("runner", ["FnApiRunner", "DirectRunner"])
def test_thousands_of_small_files_are_no_bundle_each(runner: str, tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"{number}.jsonl").write_bytes(line())
    files = tuple(find_files([str(tmp_path)]))
    _bundles.clear()
    with support.beam_pipeline(runner) as pipeline:
        counts = pipeline | sources.ListFiles(files) | ReadBlocks() | beam.ParDo(_Read())
        assert_that(counts | beam.CombineGlobally(sum), equal_to([3000]))
    assert sum(_bundles) == 3000
    assert len(_bundles) < 100


@pytest.mark.parametrize("split_bytes", [100, 1 << 22])
@pytest.mark.parametrize(
    ("name", "encode"),
    [
        ("a.jsonl", json_lines),
        ("a.json", lambda events: json.dumps(events).encode()),
        ("a.jsonl.gz", lambda events: gzip.compress(json_lines(events))),
    ],
)
def test_a_file_whose_size_reads_as_0_is_read_to_its_end(
    name: str, encode: Callable[[Any], bytes], split_bytes: int, tmp_path: Path
) -> None:
    is_read_without_a_size(make(tmp_path / name, encode(EVENTS)), split_bytes)


def test_parquet_whose_size_reads_as_0(tmp_path: Path) -> None:
    is_read_without_a_size(parquet(tmp_path / "a.parquet", columns(EVENTS), row_group_size=70), 100)


def is_read_without_a_size(file: InputFile, split_bytes: int) -> None:
    file = file._replace(size=0)
    assert rows(read(file, split_bytes)) == ROWS
    dofn = sources._ReadBlocks(split_bytes, keep_broken=False)
    blocks = list(dofn.process(file, dofn.create_tracker(dofn.initial_restriction(file))))
    assert rows(Batch.concat([decode_any(block) for block in blocks])) == ROWS
