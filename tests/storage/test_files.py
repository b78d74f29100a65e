"""Paths of buckets and of other file systems: which can be used, and what is said where not."""

import sys

import pytest
from apache_beam.io.filesystem import BeamIOError

from pipeline.errors import UsageError
from pipeline.storage.files import explain, is_io_error
from pipeline.storage.matching import find_files


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


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PermissionError(13, "Permission denied", ".r.csv.token-1"), "Permission denied"),
        (BeamIOError("open", {"gs://b/x": FileNotFoundError(2, "No such object")}), "No such object"),
        (BeamIOError("open", {"gs://b/x": BeamIOError("read", {"y": OSError("long\nbody")})}), "long body"),
        (ValueError("one\ntwo"), "one"),
    ],
)
def test_an_error_of_a_storage_is_one_line(error: Exception, text: str) -> None:
    assert explain(error).startswith(text)
    assert "\n" not in explain(error)


def test_whose_fault_an_error_is() -> None:
    assert all(map(is_io_error, (OSError(), EOFError(), BeamIOError("open", {}))))
    assert not any(map(is_io_error, (ValueError(), KeyError())))
