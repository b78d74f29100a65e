"""Objects by way of a store: found, listed, read in the version that was listed, put whole."""

import gzip
import io
import itertools
from typing import Any

import pytest

from pipeline.errors import OutputError
from pipeline.storage.files import InputFile
from pipeline.storage.objects import (
    ChangedError,
    ObjectError,
    ObjectStream,
    delete_file,
    measured,
    open_object,
    store_of,
)
from pipeline.storage.outputs import atomic_file
from pipeline.storage.temporary import new_token
from tests.memory_bucket import OBJECTS, TIMES, MemoryBucket

pytestmark = pytest.mark.usefixtures("empty_bucket")

PATH = "mem://b/out/a"


def put(path: str, data: bytes) -> InputFile:
    OBJECTS[path] = data
    file = store_of(path).find(path)
    assert file
    return file


def test_objects_by_their_very_names() -> None:
    names = ["mem://b/out/a*", "mem://b/out/a?", "mem://b/out/ab", "mem://b/out/[", "mem://b/out/", "mem://b/other"]
    OBJECTS.update(dict.fromkeys(names, b"123"))
    store = store_of(PATH)
    assert sorted(file.path for file in store.list("mem://b/out/")) == sorted(names[:4])
    assert [file.path for file in store.list("mem://b/out/a*")] == names[:1]
    assert store.find("mem://b/out/a?") == InputFile(names[1], 3, names[1], 1, "1.0")
    assert store.find("mem://b/out/ax") is None
    delete_file("mem://b/out/a*")
    delete_file("mem://b/out/none")
    assert sorted(OBJECTS) == sorted(names[1:])


@pytest.mark.parametrize("size", [0, 1, 300_000, 5_000_000, 40_000_000])
def test_a_stream_reads_any_size_at_any_place(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    stream = open_object(put(PATH, data))
    assert stream.read() == data
    for start, count in ((0, 10), (size // 2, 100), (max(size - 5, 0), 100), (size, 1), (1, 70_000), (0, size)):
        stream.seek(start)
        assert stream.read(count) == data[start : start + count]
    assert stream.seek(0, io.SEEK_END) == size


def test_ranges_grow_while_they_follow_each_other() -> None:
    """A large object takes few requests, and a footer a small one."""
    size = 100_000_000
    ranges: list[tuple[int, int]] = []
    stream = ObjectStream(put(PATH, bytes(size)))
    read = stream._store.read

    class Recording:
        def read(self, file: InputFile, start: int, stop: int) -> object:
            ranges.append((start, stop))
            return read(file, start, stop)

    stream._store = Recording()  # type: ignore[assignment]
    stream.seek(size - 8)
    stream.read(8)
    stream.seek(0)
    while stream.read(1 << 16):
        pass
    assert ranges[0] == (size - 8, size)
    assert len(ranges) < 14
    assert ranges[1][0] == 0
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(ranges[1:]))


@pytest.mark.parametrize("data", [b"12345", b"123", b"1234567", None])
def test_another_version_is_not_read(data: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = open_object(put(PATH, b"54321"))
    if data is None:
        del OBJECTS[PATH]
        with pytest.raises(OSError, match="No such object"):
            stream.read()
        return
    OBJECTS[PATH] = data
    monkeypatch.setitem(TIMES, PATH, 2.0)
    with pytest.raises(ChangedError):
        stream.read()


def test_what_was_not_listed_is_looked_up() -> None:
    file = put(PATH, b"12345")
    assert measured(InputFile(PATH, -1, "a")) == file._replace(name="a", modified=0)
    assert measured(file) is file
    with pytest.raises(ObjectError, match="no such object"):
        measured(InputFile(f"{PATH}x", -1, "a"))


@pytest.mark.parametrize("size", [0, 1, 20_000_000])
def test_an_object_is_there_when_it_is_whole(size: int) -> None:
    OBJECTS[PATH] = b"earlier"
    with atomic_file(PATH, new_token()) as stream:
        stream.write(bytes(size))
        assert OBJECTS == {PATH: b"earlier"}
    assert {PATH: bytes(size)} == OBJECTS


def test_compressed_by_the_suffix() -> None:
    with atomic_file(f"{PATH}.gz", new_token()) as stream:
        stream.write(b"one,two")
    assert list(OBJECTS) == [f"{PATH}.gz"]
    assert gzip.decompress(OBJECTS[f"{PATH}.gz"]) == b"one,two"


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_what_fails_leaves_the_earlier_object_alone(error: type[BaseException]) -> None:
    def fail() -> None:
        with atomic_file(PATH, new_token()) as stream:
            stream.write(b"half")
            raise error

    OBJECTS[PATH] = b"earlier"
    with pytest.raises(error):
        fail()
    assert OBJECTS == {PATH: b"earlier"}


def test_a_bucket_that_fails_is_told_by_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(MemoryBucket, "create", refuse)
    with pytest.raises(OutputError, match=f"{PATH}: cannot be written: Permission denied"), atomic_file(PATH, "0" * 32):
        pass
