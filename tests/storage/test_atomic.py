"""Objects that appear under their name whole or not at all, and leave nothing else."""

import gzip
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.errors import OutputError
from pipeline.storage.outputs import atomic_file
from pipeline.storage.temporary import new_token
from tests.memory_bucket import OBJECTS, MemoryBucket

PATH = "mem://bucket/out/r.csv"


@pytest.fixture(autouse=True)
def _empty_bucket() -> Iterator[None]:
    OBJECTS.clear()
    yield
    OBJECTS.clear()


def test_an_object_is_there_when_it_is_whole() -> None:
    OBJECTS[PATH] = b"earlier"
    with atomic_file(PATH, new_token()) as stream:
        stream.write(b"one,")
        stream.write(b"two")
        assert OBJECTS[PATH] == b"earlier"
    assert OBJECTS == {PATH: b"one,two"}


def test_compressed_by_the_suffix() -> None:
    with atomic_file(f"{PATH}.gz", new_token()) as stream:
        stream.write(b"one,two")
    assert list(OBJECTS) == [f"{PATH}.gz"]
    assert gzip.decompress(OBJECTS[f"{PATH}.gz"]) == b"one,two"


def test_nothing_is_a_whole_object_too() -> None:
    with atomic_file(PATH, new_token()):
        pass
    assert OBJECTS == {PATH: b""}


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
