"""Files that appear whole or not at all: links, modes, names of any kind, and many writers at once."""

import gzip
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
import zstandard

from pipeline import hourly_table, scale_impressions, write_csv
from pipeline.errors import OutputError
from pipeline.storage.local import atomic_write
from pipeline.storage.outputs import atomic_file
from pipeline.storage.temporary import new_token
from tests.support import EXAMPLE_EVENTS, EXAMPLE_REPORT

TABLE = scale_impressions(hourly_table(EXAMPLE_EVENTS))


def by_csv(path: Path) -> None:
    write_csv(TABLE, str(path))


def by_atomic_file(path: Path) -> None:
    with atomic_file(str(path), new_token()) as stream:
        stream.write(EXAMPLE_REPORT.encode())


both = pytest.mark.parametrize("write", [by_csv, by_atomic_file])
Write = Callable[[Path], None]


@both
def test_a_link_is_followed(write: Write, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "real.csv").write_text("earlier")
    (tmp_path / "link.csv").symlink_to("folder/real.csv")
    (tmp_path / "chain.csv").symlink_to("link.csv")
    (tmp_path / "new.csv").symlink_to("folder/new.csv")
    for name, target in (("chain.csv", "real.csv"), ("new.csv", "new.csv")):
        write(tmp_path / name)
        assert (tmp_path / name).is_symlink()
        assert not (tmp_path / "folder" / target).is_symlink()
        assert (tmp_path / "folder" / target).read_text() == EXAMPLE_REPORT
    assert sorted(os.listdir(tmp_path / "folder")) == ["new.csv", "real.csv"]


@both
@pytest.mark.parametrize("mode", [0o600, 0o444, 0o664, 0o777])
def test_the_mode_of_an_earlier_file_is_kept(write: Write, mode: int, tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    path.touch()
    path.chmod(mode)
    write(path)
    assert (stat.S_IMODE(path.stat().st_mode), path.read_text()) == (mode, EXAMPLE_REPORT)


@both
def test_the_owner_of_an_earlier_file_is_kept_where_that_is_allowed(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    path.touch(0o600)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65533)
    before = path.stat()
    write(path)
    after = path.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert after.st_ino != before.st_ino


@both
def test_an_owner_that_cannot_be_kept_is_no_error(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, os.strerror(1))

    monkeypatch.setattr(os, "fchown", refuse)
    path = tmp_path / "report.csv"
    path.touch(0o640)
    write(path)
    assert (stat.S_IMODE(path.stat().st_mode), path.read_text()) == (0o640, EXAMPLE_REPORT)


def test_what_was_private_is_private_from_the_first_byte(tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    path.touch(0o600)
    with atomic_write(str(path)) as stream:
        stream.write(b"x")
        (temporary,) = (name for name in os.listdir(tmp_path) if name.startswith(".report.csv."))
        assert stat.S_IMODE((tmp_path / temporary).stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_reader_that_locks_files_does_not_hang_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be any user who can read the folder; here it always wins the race for the lock."""
    (tmp_path / "report.csv").touch(0o644)
    monkeypatch.setattr("fcntl.flock", mock.Mock(side_effect=BlockingIOError))
    by_csv(tmp_path / "report.csv")
    assert os.listdir(tmp_path) == ["report.csv"]


@both
def test_a_new_file_has_the_usual_mode(write: Write, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "report.csv")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "report.csv").stat().st_mode) == 0o640


@both
@pytest.mark.parametrize(
    "name", ["a" * 255, "é" * 127, "😀" * 63, "caf\udce9.csv", ".hidden", "..", "a\nb", " ", "-", "[a]*?"]
)
def test_any_name(write: Write, name: str, tmp_path: Path) -> None:
    path = tmp_path / (name if name != ".." else "..csv")
    write(path)
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_text() == EXAMPLE_REPORT


@both
@pytest.mark.parametrize("names", [["report.csv"] * 4, ["a.csv", "b.csv", "a.csv.gz", "link.csv"]])
def test_many_writers_at_once(write: Write, names: list[str], tmp_path: Path) -> None:
    """Of one file and of several in one folder; each is there whenever one of its writers has returned."""
    (tmp_path / "link.csv").symlink_to("b.csv")
    failed: list[BaseException] = []

    def work(path: Path) -> None:
        try:
            for _ in range(50):
                write(path)
                assert (_decompressed(path) if path.suffix == ".gz" else path.read_text()) == EXAMPLE_REPORT
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(tmp_path / name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert set(os.listdir(tmp_path)) == {*names, "link.csv"}


def _decompressed(path: Path) -> str:
    data = path.read_bytes()
    if path.suffix.lower().startswith(".gz"):
        return gzip.decompress(data).decode()
    return zstandard.ZstdDecompressor().decompressobj().decompress(data).decode()


@both
@pytest.mark.parametrize("name", ["r.csv.gz", "r.csv.zst", "R.CSV.GZ", "r.gz", "r.csv.gzip"])
def test_compressed_by_the_suffix(write: Write, name: str, tmp_path: Path) -> None:
    write(tmp_path / name)
    assert _decompressed(tmp_path / name) == EXAMPLE_REPORT
    before = (tmp_path / name).read_bytes()
    write(tmp_path / name)
    assert (tmp_path / name).read_bytes() == before
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["empty.txt", "empty.txt.gz", "empty.txt.zst"])
def test_nothing_is_a_whole_file_too(name: str, tmp_path: Path) -> None:
    with atomic_write(str(tmp_path / name)):
        pass
    assert ((tmp_path / name).read_text() if name == "empty.txt" else _decompressed(tmp_path / name)) == ""


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz", "r.csv.zst"])
def test_what_fails_leaves_the_earlier_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("earlier")

    def fail() -> None:
        with atomic_write(str(tmp_path / name)) as stream:
            stream.write(b"half" * 100_000)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (tmp_path / name).read_text() == "earlier"
    assert os.listdir(tmp_path) == [name]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for name in ("pipe", "folder", "loop"):
        with pytest.raises(OSError, match=r"pipe|folder|symbolic links"):
            by_csv(tmp_path / name)
        with pytest.raises(OutputError, match=f"{name}: cannot be written: "):
            by_atomic_file(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["folder", "loop", "pipe"]
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("durable", [False, True])
def test_what_must_outlast_the_power_is_on_the_disk_before_it_has_its_name(
    durable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace

    def syncing(descriptor: int) -> None:
        assert os.fstat(descriptor).st_size == len(EXAMPLE_REPORT)
        done.append("sync")
        sync(descriptor)

    def replacing(source: str, target: str) -> None:
        done.append("name")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "replace", replacing)
    with atomic_write(str(tmp_path / "a"), durable=durable) as stream:
        stream.write(EXAMPLE_REPORT.encode())
    assert done == (["sync", "name"] if durable else ["name"])
