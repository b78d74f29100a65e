"""Whether an output can be written is found without leaving anything."""

import os
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.storage.writable import check_folder, check_writable, is_same


def test_paths_are_the_same_where_they_lead_to_one_file(tmp_path: Path) -> None:
    os.symlink(tmp_path, tmp_path / "link")
    file = str(tmp_path / "a")
    assert is_same(file, file)
    assert is_same(file, str(tmp_path / "link" / "a"))
    assert is_same(file, str(tmp_path / "b" / ".." / "a"))
    assert not is_same(file, str(tmp_path / "b"))
    assert is_same("gs://bucket/a", "gs://bucket/a")
    assert not is_same("gs://bucket/a", "gs://bucket/b/../a")


def test_nothing_is_made_or_changed(tmp_path: Path) -> None:
    (tmp_path / "earlier").write_text("an earlier report")
    check_writable(str(tmp_path / "earlier"))
    check_writable(str(tmp_path / "new"))
    assert os.listdir(tmp_path) == ["earlier"]
    assert (tmp_path / "earlier").read_text() == "an earlier report"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("folder", "it is a folder"),
        ("new/", "it is a folder, not a file"),
        ("missing/new", "No such file"),
        ("file/new", "Not a directory"),
        ("loop", "Too many levels of symbolic links"),
        ("pipe", ""),
    ],
)
def test_what_cannot_be_written(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.symlink("loop", tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(UsageError, match=f"{name}: cannot be written: .*{reason}"):
        check_writable(f"{tmp_path}/{name}")
    assert sorted(os.listdir(tmp_path)) == before


def test_an_output_has_a_name() -> None:
    with pytest.raises(UsageError, match="the name is empty"):
        check_writable("")


def test_a_folder_is_made(tmp_path: Path) -> None:
    check_folder(f"{tmp_path}/a/b/")
    assert os.listdir(tmp_path / "a" / "b") == []
    (tmp_path / "file").touch()
    for name in ("file", "file/folder"):
        with pytest.raises(UsageError, match=f"{name}: cannot be written: "):
            check_folder(f"{tmp_path}/{name}")
