"""Paths of buckets and of other file systems: which can be used, and what is said where not."""

import sys

import pytest
from apache_beam.io.filesystem import BeamIOError

from pipeline.errors import UsageError
from pipeline.storage.files import InputFile, delete_file, explain, is_io_error, list_objects, rename_object
from pipeline.storage.matching import find_files
from tests.memory_bucket import OBJECTS


def refused(reason: str, path: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_files([path])
    assert str(caught.value) == reason


def test_an_unknown_file_system() -> None:
    refused("nothere://bucket/a.json: no such kind of storage", "nothere://bucket/a.json")


@pytest.mark.parametrize(
    ("path", "extra", "module"), [("hdfs://h/a.json", "hadoop", "hdfs"), ("azfs://b/c/a.json", "azure", "azure")]
)
def test_a_file_system_that_is_not_installed(
    path: str, extra: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beam says so by an error of its own (Hadoop), or not before the first use (Azure)."""
    monkeypatch.setitem(sys.modules, module, None)
    refused(f"{path}: it needs `pip install 'apache-beam[{extra}]'`", path)


@pytest.mark.parametrize("path", ["gs://bucket", "s3://bucket", "gs://bucket/", "s3://", "gs:///x"])
def test_a_bucket_without_an_object(path: str) -> None:
    refused(f"{path}: names a bucket, but no object or folder in it", path)


def test_a_pattern_of_buckets() -> None:
    refused("gs://b*/x: a bucket's name cannot be a pattern", "gs://b*/x")


class _CloudError(Exception):
    """As a cloud's client raises it."""

    code = 403


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PermissionError(13, "Permission denied", ".r.csv.token-1"), "Permission denied"),
        (BeamIOError("open", {"gs://b/x": FileNotFoundError(2, "No such object")}), "No such object"),
        (
            BeamIOError("open", {"gs://b/x": BeamIOError("read", {"y": _CloudError("long\nbody")})}),
            "access is denied (403)",
        ),
        (ValueError("one\ntwo"), "one"),
    ],
)
def test_an_error_of_a_storage_is_one_line(error: Exception, text: str) -> None:
    assert explain(error).startswith(text)
    assert "\n" not in explain(error)


def test_whose_fault_an_error_is() -> None:
    assert all(map(is_io_error, (OSError(), EOFError(), BeamIOError("open", {}))))
    assert not any(map(is_io_error, (ValueError(), KeyError(), _CloudError())))


def test_objects_by_their_very_names() -> None:
    names = ["mem://b/out/a*", "mem://b/out/ab", "mem://b/out/", "mem://b/other"]
    OBJECTS.clear()
    OBJECTS.update(dict.fromkeys(names, b"123"))
    assert list_objects("mem://b/out/") == [InputFile(name, 3, name, 1) for name in names[:2]]
    delete_file("mem://b/out/a*")
    delete_file("mem://b/out/none")
    rename_object("mem://b/other", "mem://b/out/ab")
    assert sorted(OBJECTS) == ["mem://b/out/", "mem://b/out/ab"]
    OBJECTS.clear()
