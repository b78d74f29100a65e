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
    refused("nothere://bucket/a.json: unknown storage nothere://", "nothere://bucket/a.json")


@pytest.mark.parametrize(
    ("path", "extra", "module"), [("gs://b/a.json", "gcp", "google.cloud.storage"), ("s3://b/a.json", "aws", "boto3")]
)
def test_a_client_that_is_not_installed(path: str, extra: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for name in ("pipeline.storage.gcs", "pipeline.storage.s3"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr("pipeline.storage.objects._stores", {})
    refused(f"{path}: needs `pip install 'apache-beam[{extra}]'`", path)


@pytest.mark.parametrize("path", ["gs://bucket", "s3://bucket", "gs://bucket/", "s3://", "gs:///x"])
def test_a_bucket_without_an_object(path: str) -> None:
    refused(f"{path}: no object or folder after the bucket's name", path)


def test_a_pattern_of_buckets() -> None:
    refused("gs://b*/x: the bucket's name cannot be a pattern", "gs://b*/x")


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
