"""Whether an output can be written is found without leaving anything."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import hourly_table, write_csv
from pipeline.errors import UsageError
from pipeline.storage.outputs import check_folder, check_writable, is_same


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


STRANGER = 65534


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder such as /tmp: sticky, and everyone can write to it."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    (tmp_path / "target.csv").write_text("earlier")
    return tmp_path / "shared"


def give_away(path: Path) -> None:
    """Makes a file or link another user's; where that is not allowed, this process is made to be another user."""
    os.chown(path, STRANGER, -1, follow_symlinks=False)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")


@needs_root
@pytest.mark.parametrize("link", ["report.csv", "folder/report.csv"])
def test_links_of_others_in_a_shared_folder_are_not_followed(link: str, shared: Path, tmp_path: Path) -> None:
    name = link.partition("/")[0]
    os.symlink(tmp_path if "/" in link else tmp_path / "target.csv", shared / name)
    (tmp_path / "report.csv").write_text("earlier")
    os.symlink(shared / name, tmp_path / "chain")
    assert check_writable(str(shared / link))
    give_away(shared / name)
    for path in (shared / link, Path(str(shared / link).replace(str(shared / name), str(tmp_path / "chain")))):
        with pytest.raises(UsageError, match="link owned by another user in a world-writable folder"):
            check_writable(str(path))
        with pytest.raises(OSError, match="link owned by another user"):
            write_csv(hourly_table([]), str(path))
    os.chown(shared, STRANGER, -1)  # links of the folder's owner are followed
    assert check_writable(str(shared / link))
    os.chown(shared, 0, -1)
    shared.chmod(0o755)  # and so are all where strangers cannot make any
    assert check_writable(str(shared / link))
    assert (tmp_path / "target.csv").read_text() == (tmp_path / "report.csv").read_text() == "earlier"


@needs_root
def test_files_of_others_in_a_shared_folder_are_not_replaced(shared: Path) -> None:
    (shared / "report.csv").write_text("theirs")
    give_away(shared / "report.csv")
    with pytest.raises(UsageError, match="file owned by another user in a world-writable folder"):
        check_writable(str(shared / "report.csv"))
    with pytest.raises(OSError, match="file owned by another user"):
        write_csv(hourly_table([]), str(shared / "report.csv"))
    assert (shared / "report.csv").read_text() == "theirs"
    assert (shared / "report.csv").stat().st_uid == STRANGER


@needs_root
def test_a_file_in_a_folder_that_is_shut_is_written_in_place() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        for file, mode in (("open.csv", 0o666), ("closed.csv", 0o444)):
            (folder / file).touch()
            (folder / file).chmod(mode)
        folder.chmod(0o555)
        with as_stranger():
            assert not check_writable(str(folder / "open.csv"))
            for file in ("closed.csv", "new.csv"):
                with pytest.raises(UsageError, match=f"{file}: cannot be written: Permission denied"):
                    check_writable(str(folder / file))


@contextlib.contextmanager
def as_stranger() -> Iterator[None]:
    os.seteuid(STRANGER)
    try:
        yield
    finally:
        os.seteuid(0)


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
