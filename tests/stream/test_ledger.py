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
from pipeline.model.ids import counted_pieces, merge_pieces
from pipeline.storage.files import InputFile
from pipeline.stream import ledger as ledgers
from pipeline.stream.ledger import NAME, Contribution, Known, Ledger, OpenFile, kept, ledger_of

SETTINGS = {"deduplicate": "False"}
FILE = InputFile("/in/a.jsonl", 7, "a.jsonl", 1617393003, (1, 1617393003_000000001))
KEY, LOOK = b"a", (7, 1617393003_000000001)


def again(folder: Path) -> Ledger:
    """A new run's ledger; the one before was not closed, as after kill -9."""
    ledger = Ledger(str(folder))
    ledger.begin(SETTINGS)
    return ledger


def opened(ledger: Ledger, file: InputFile = FILE, key: bytes = KEY) -> OpenFile:
    ledger.hand_out(file, key, 0)
    return ledger.open[file.name]


def contribution(file: OpenFile, balance: int | None = None, place: str = "whole") -> Contribution:
    """A block of a file; balance: all of it by default."""
    new = Contribution(Counter(read=5, rejected=1, late=2))
    new.blocks.append((file, place, file.rest if balance is None else balance, True))
    new.add_counts(0, (1, 0, 0, 0, 0, 1))
    new.add_counts(3600, (0, 1, 0, 0, 0, 0))
    for _, piece in counted_pieces(Ids.of([b"a", b"b", b"a"]), 1):
        new.add_ids((0, 0), piece)
    return new


def test_what_is_known_of_a_file(tmp_path: Path) -> None:
    ledger = again(tmp_path)
    assert ledger.state(KEY, LOOK) is Known.NEW
    file = opened(ledger)
    ledger.add(contribution(file, 3, "first"))
    assert ledger.state(KEY, LOOK) is Known.PARTLY
    ledger = again(tmp_path)
    file = opened(ledger)
    assert (ledger.has(file, "first"), ledger.has(file, "second")) == (True, False)
    ledger.add(Contribution(blocks=[(file, "first", 3, False), (file, "second", file.rest - 3, True)]))
    assert (ledger.state(KEY, LOOK), ledger.open) == (Known.DONE, {})
    ledger = again(tmp_path)
    assert ledger.state(KEY, LOOK) is Known.DONE
    assert [ledger.state(KEY, look) for look in ((8, LOOK[1]), (7, LOOK[1] + 1))] == [Known.CHANGED] * 2
    assert sqlite3.connect(ledger.path).execute("SELECT COUNT(*) FROM blocks").fetchone() == (0,)


def test_a_block_that_comes_twice_is_a_defect(tmp_path: Path) -> None:
    ledger = again(tmp_path)
    file = opened(ledger)
    ledger.add(contribution(file, 3))
    with pytest.raises(MismatchError, match="read twice: please report this"):
        ledger.add(contribution(file, 3))


def test_files_that_were_not_read_to_their_end_are_a_defect(tmp_path: Path) -> None:
    ledger = again(tmp_path)
    ledger.check_done()
    file = opened(ledger)
    with pytest.raises(MismatchError, match=r"of a.jsonl do not add up to it"):
        ledger.check_done()
    file.broken = True  # a part of it says nothing
    ledger.check_done()
    file.broken = False
    ledger.add(contribution(file))
    ledger.check_done()


def test_a_file_that_is_abandoned_is_taken_once(tmp_path: Path) -> None:
    ledger = again(tmp_path)
    opened(ledger)
    ledger.abandon(FILE.name, "no")
    assert (ledger.open, ledger.take_abandoned(), ledger.take_abandoned()) == ({}, {KEY}, set())


def test_a_run_begins_with_what_all_earlier_ones_have_added(tmp_path: Path) -> None:
    for run in range(4):
        ledger = again(tmp_path)
        hours = {0: (run, 0, 0, 0, 0, run), 3600: (0, run, 0, 0, 0, 0)} if run else {}
        assert dict(ledger.counts()) == hours
        assert ledger.earlier_tally == Counter(read=5 * run, rejected=run, late=2 * run, counted=0)
        for place, piece in ledger.ids():
            ids, came = merge_pieces(piece)
            assert (place, sorted(ids.to_list()), came) == ((0, 0), [b"a", b"b"], 3 * run)
        assert len(list(ledger.ids())) == bool(run)
        file = FILE._replace(path=f"/in/{run}", name=str(run))
        ledger.add(contribution(opened(ledger, file, bytes([run]))))
        assert dict(ledger.counts()) == hours  # what this run adds is not among it


def test_keys_of_events_come_back(tmp_path: Path) -> None:
    ledger, keys = again(tmp_path), [b"one", b"twotwo", b""]
    new = contribution(opened(ledger))
    new.add_events(0, Ids.of(keys))
    ledger.add(new)
    assert list(ledger.events()) == []
    assert [found.to_list() for found in again(tmp_path).events()] == [keys]


def test_a_final_hour_is_counted_and_released(tmp_path: Path) -> None:
    ledger = again(tmp_path)
    new = contribution(opened(ledger))
    new.add_events(0, Ids.of([b"x", b"y", b"x"]))
    ledger.add(new)
    ledger.close_hour(0, (1, 0, 0, 0, 0, 1))
    ledger = again(tmp_path)
    assert ledger.final == {0}
    assert (dict(ledger.counts()), list(ledger.ids()), list(ledger.events())) == ({3600: (0, 1, 0, 0, 0, 0)}, [], [])
    assert ledger.earlier_tally == Counter(read=5, rejected=1, late=2, counted=2, duplicate=1)


def test_the_ids_of_an_hour_are_united_as_they_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "_LEAST_BYTES", 100)
    ledger = again(tmp_path)
    for number in range(30):
        file = FILE._replace(path=f"/in/{number}", name=str(number))
        ledger.add(contribution(opened(ledger, file, bytes([number]))))
    rows = sqlite3.connect(ledger.path).execute("SELECT COUNT(*) FROM ids").fetchone()[0]
    assert rows < 10
    ((place, piece),) = again(tmp_path).ids()
    assert (place, sorted(merge_pieces(piece)[0].to_list()), merge_pieces(piece)[1]) == ((0, 0), [b"a", b"b"], 90)


def rejecting(ledger: Ledger, number: int) -> None:
    new = Contribution()
    new.add_rejects(b"%d\n" % number)
    ledger.add(new)


def test_rejects_are_written_once_and_forgotten(tmp_path: Path) -> None:
    ledger, written = again(tmp_path), list[bytes]()
    for number in (1, 2, 3):
        rejecting(ledger, number)
    ledger.write_rejects(written.append)
    ledger.write_rejects(written.append)
    rejecting(ledger, 4)
    again(tmp_path).write_rejects(written.append)  # by the next run
    again(tmp_path).write_rejects(written.append)
    assert written == [b"1\n2\n3\n", b"4\n"]


def test_rejects_whose_writing_was_broken_off_are_written_again_as_they_were(tmp_path: Path) -> None:
    def fail(lines: bytes) -> None:
        written.append(lines)
        raise OSError("killed")

    ledger, written = again(tmp_path), list[bytes]()
    for number in range(3):
        rejecting(ledger, number)
        with pytest.raises(OSError, match="killed"):
            ledger.write_rejects(fail)
    after = again(tmp_path)
    rejecting(after, 9)
    after.write_rejects(written.append)
    assert written == [b"0\n"] * 3 + [b"0\n", b"1\n", b"2\n", b"9\n"]


def test_many_rejects_are_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "_REJECTS_BYTES", 3)
    ledger, written = again(tmp_path), list[bytes]()
    for number in range(5):
        rejecting(ledger, number)
    ledger.write_rejects(written.append)
    assert written == [b"0\n1\n", b"2\n3\n", b"4\n"]


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    again(tmp_path)
    with pytest.raises(OptionError, match="deduplicate: this stream was started with False, not with True: use"):
        Ledger(str(tmp_path)).begin({"deduplicate": "True"})


def test_the_ledger_of_another_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with kept(f"{tmp_path}/one", SETTINGS):
        pass
    (tmp_path / "link").symlink_to(tmp_path / "one")
    with kept(f"{tmp_path}/link", SETTINGS):
        pass
    (tmp_path / "one").rename(tmp_path / "two")
    with pytest.raises(UsageError, match=r"two/.hourly-report.ledger: belongs to .*/one: continue there"):
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
        kept(str(tmp_path), SETTINGS),
    ):
        pass


@pytest.mark.parametrize("what", ["removed", "replaced"])
def test_a_ledger_that_is_gone_ends_the_stream(what: str, tmp_path: Path) -> None:
    ledger = again(tmp_path)
    os.replace(ledger.path, tmp_path / "away")
    if what == "replaced":
        (tmp_path / NAME).touch()
    with pytest.raises(OutputError, match="was removed or replaced while the stream was running"):
        rejecting(ledger, 1)


def test_a_locked_ledger_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ledgers, "_TELL_SECONDS", 0.01)
    ledger = again(tmp_path)
    other = sqlite3.connect(ledger.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    told = [f"{ledger.path}: is locked by another program; waiting for it"]
    adding = threading.Thread(target=rejecting, args=(ledger, 1))
    adding.start()
    while [record.message for record in caplog.records] != told:
        adding.join(0.01)
    other.execute("ROLLBACK")
    adding.join()
    written: list[bytes] = []
    ledger.write_rejects(written.append)
    assert written == [b"1\n"]
    monkeypatch.setattr(ledgers, "_WAIT_SECONDS", 0)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OutputError, match="is locked by another program, which was waited for"):
        rejecting(ledger, 2)


def test_a_ledger_is_one_file_between_runs(tmp_path: Path) -> None:
    with kept(str(tmp_path), SETTINGS) as ledger:
        assert ledger_of(str(tmp_path)) is ledger
        with contextlib.closing(sqlite3.connect(ledger.path)) as database:
            assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        ledger.add(contribution(opened(ledger)))
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
