"""The ledger: what was committed is there once, whatever ended the process, and a new run begins with it."""

import contextlib
import os
import sqlite3
import threading
from collections import Counter
from pathlib import Path

import pytest

from pipeline.errors import MismatchError, OptionError, OutputError, UsageError
from pipeline.model.events import Ids
from pipeline.model.ids import merge_packed, pack_partitions
from pipeline.storage.files import InputFile
from pipeline.stream import database
from pipeline.stream import ledger as ledgers
from pipeline.stream.database import NAME
from pipeline.stream.ledger import Contribution, Ledger, OpenFile, ledger_of, open_ledger

SETTINGS = {"deduplicate": "False"}
FILE = InputFile("/in/a.jsonl", 7, "a.jsonl", 1617393003, (1, 1617393003_000000001))
KEY, STAMP = b"a", (7, 1617393003_000000001)


def again(folder: Path) -> Ledger:
    """A new run's ledger; the one before was not closed, as after kill -9."""
    return Ledger(str(folder), SETTINGS)


def opened(ledger: Ledger, file: InputFile = FILE, key: bytes = KEY) -> OpenFile:
    ledger.start_file(file, key, 0)
    return ledger.open[file.name]


def contribution(file: OpenFile, balance: int | None = None, place: str = "whole") -> Contribution:
    """A block of a file; balance: all of it by default."""
    new = Contribution(Counter(read=5, rejected=1, late=2))
    new.blocks.append((file, place, file.missing if balance is None else balance, True))
    new.counts = {0: (1, 0, 0, 0, 0, 1), 3600: (0, 1, 0, 0, 0, 0)}
    new.sets = {(0, 0): [packed for _, packed in pack_partitions(Ids.of([b"a", b"b", b"a"]), 1)]}
    return new


def test_what_is_known_of_a_file(tmp_path: Path) -> None:
    ledger = again(tmp_path)
    assert ledger.find([KEY]) == {}
    file = opened(ledger)
    ledger.add(contribution(file, 3, "first"))
    assert ledger.find([KEY]) == {KEY: (STAMP, False)}
    ledger = again(tmp_path)
    file = opened(ledger)
    assert file.counted == {"first"}
    ledger.add(Contribution(blocks=[(file, "first", 3, False), (file, "second", file.missing - 3, True)]))
    assert (ledger.find([KEY]), ledger.open) == ({KEY: (STAMP, True)}, {})
    ledger = again(tmp_path)
    assert ledger.find([b"other", KEY]) == {KEY: (STAMP, True)}
    assert database_of(tmp_path).execute("SELECT COUNT(*) FROM blocks").fetchone() == (0,)


def test_a_block_that_comes_twice_is_a_defect(tmp_path: Path) -> None:
    ledger = again(tmp_path)
    file = opened(ledger)
    ledger.add(contribution(file, 3))
    with pytest.raises(MismatchError, match="read twice; please report this bug"):
        ledger.add(contribution(file, 3))


def test_a_run_begins_with_what_all_earlier_ones_have_added(tmp_path: Path) -> None:
    for run in range(4):
        ledger = again(tmp_path)
        hours = {0: (run, 0, 0, 0, 0, run), 3600: (0, run, 0, 0, 0, 0)} if run else {}
        assert ledger.earlier_counts == hours
        assert ledger.earlier_tally == Counter(read=5 * run, rejected=run, late=2 * run, counted=0)
        for place, piece in ledger.earlier_sets():
            ids, came = merge_packed(piece)
            assert (place, sorted(ids.to_list()), came) == ((0, 0), [b"a", b"b"], 3 * run)
        assert len(list(ledger.earlier_sets())) == bool(run)
        file = FILE._replace(path=f"/in/{run}", name=str(run))
        ledger.add(contribution(opened(ledger, file, bytes([run]))))
        assert ledger.earlier_counts == hours  # what this run adds is not among it


def test_a_final_hour_is_counted_and_released(tmp_path: Path) -> None:
    ledger = again(tmp_path)
    new = contribution(opened(ledger))
    ledger.add(new)
    ledger.record_report(0, (1, 0, 0, 0, 0, 1), is_final=True)
    ledger = again(tmp_path)
    assert ledger.final == {0}
    assert (ledger.earlier_counts, list(ledger.earlier_sets())) == ({3600: (0, 1, 0, 0, 0, 0)}, [])
    assert ledger.earlier_tally == Counter(read=5, rejected=1, late=2, counted=2, duplicate=1)


def test_the_ids_of_an_hour_are_united_as_they_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "_MIN_MERGE_BYTES", 100)
    ledger = again(tmp_path)
    for number in range(30):
        file = FILE._replace(path=f"/in/{number}", name=str(number))
        ledger.add(contribution(opened(ledger, file, bytes([number]))))
    rows = database_of(tmp_path).execute("SELECT COUNT(*) FROM sets").fetchone()[0]
    assert rows < 10
    ((place, piece),) = again(tmp_path).earlier_sets()
    assert (place, sorted(merge_packed(piece)[0].to_list()), merge_packed(piece)[1]) == ((0, 0), [b"a", b"b"], 90)


def rejecting(ledger: Ledger, number: int) -> None:
    ledger.add(Contribution(rejects=[b"%d\n" % number]))


def database_of(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / NAME, isolation_level=None, check_same_thread=False)


def written_by(*ledgers: Ledger) -> dict[str, bytes]:
    """The files of rejects that ledgers write in turn."""
    files: dict[str, bytes] = {}
    for ledger in ledgers:
        ledger.write_rejects(files.__setitem__)
    return files


def test_rejects_are_written_once_and_deleted(tmp_path: Path) -> None:
    ledger = again(tmp_path)
    for number in (1, 2, 3):
        rejecting(ledger, number)
    assert list(written_by(ledger, ledger).values()) == [b"1\n2\n3\n"]
    rejecting(ledger, 4)
    assert list(written_by(again(tmp_path), again(tmp_path)).values()) == [b"4\n"]


def test_rejects_whose_writing_was_killed_are_written_again_under_the_same_name(tmp_path: Path) -> None:
    def fail(name: str, lines: bytes) -> None:
        files[name] = lines
        raise OSError("killed")

    ledger, files = again(tmp_path), dict[str, bytes]()
    for number in range(3):
        rejecting(ledger, number)
        with pytest.raises(OSError, match="killed"):
            ledger.write_rejects(fail)
    after = again(tmp_path)
    rejecting(after, 9)
    after.write_rejects(files.__setitem__)
    assert list(files.values()) == [b"0\n1\n2\n9\n"]
    rejecting(after, 9)
    after.write_rejects(files.__setitem__)
    assert list(files.values()) == [b"0\n1\n2\n9\n", b"9\n"]


def test_many_rejects_are_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "_REJECTS_BYTES", 3)
    ledger = again(tmp_path)
    for number in range(5):
        rejecting(ledger, number)
    assert list(written_by(ledger).values()) == [b"0\n1\n", b"2\n3\n", b"4\n"]


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    again(tmp_path)
    with pytest.raises(OptionError, match=r"deduplicate True differs from the ledger \(False\)"):
        Ledger(str(tmp_path), {"deduplicate": "True"})
    again(tmp_path)
    with pytest.raises(OptionError, match=r"deduplicate unset differs from the ledger \(False\)"):
        Ledger(str(tmp_path), {"deduplicate": "None"})


def test_the_ledger_of_another_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with open_ledger(f"{tmp_path}/one", SETTINGS):
        pass
    (tmp_path / "link").symlink_to(tmp_path / "one")
    with open_ledger(f"{tmp_path}/link", SETTINGS):
        pass
    (tmp_path / "one").rename(tmp_path / "two")
    with pytest.raises(UsageError, match=r"two/.hourly-report.ledger: copied from .*/one; resume the stream there"):
        again(tmp_path / "two")


def test_another_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / NAME) as database:
        database.execute("CREATE TABLE blocks (name BLOB PRIMARY KEY)")
    with pytest.raises(UsageError, match="another version of this program"):
        again(tmp_path)


def test_what_is_no_ledger(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"no database, but long enough to be looked at" * 99)
    with (
        pytest.raises(OutputError, match=r"\.hourly-report\.ledger: file is not a database"),
        open_ledger(str(tmp_path), SETTINGS),
    ):
        pass


@pytest.mark.parametrize("what", ["removed", "replaced"])
def test_a_ledger_that_is_gone_ends_the_stream(what: str, tmp_path: Path) -> None:
    ledger = again(tmp_path)
    os.replace(tmp_path / NAME, tmp_path / "away")
    if what == "replaced":
        (tmp_path / NAME).touch()
    with pytest.raises(OutputError, match="removed or replaced while the stream was running"):
        rejecting(ledger, 1)


def test_a_locked_ledger_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database, "_RETRY_SECONDS", 0.01)
    ledger = again(tmp_path)
    other = database_of(tmp_path)
    other.execute("BEGIN IMMEDIATE")
    told = [f"{tmp_path / NAME}: locked by another program; waiting"]
    adding = threading.Thread(target=rejecting, args=(ledger, 1))
    adding.start()
    while [record.message for record in caplog.records] != told:
        adding.join(0.01)
    other.execute("ROLLBACK")
    adding.join()
    assert list(written_by(ledger).values()) == [b"1\n"]
    monkeypatch.setattr(database, "_LOCK_SECONDS", 0)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OutputError, match="still locked by another program after 0 s"):
        rejecting(ledger, 2)


def test_a_ledger_is_one_file_between_runs(tmp_path: Path) -> None:
    with open_ledger(str(tmp_path), SETTINGS) as ledger:
        assert ledger_of(str(tmp_path)) is ledger
        with contextlib.closing(database_of(tmp_path)) as database:
            assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        ledger.add(contribution(opened(ledger)))
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
