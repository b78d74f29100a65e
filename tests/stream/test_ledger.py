"""The ledger: what was added once is there once, whatever ended the process, and a new run begins with it."""

import sqlite3
from pathlib import Path

import pytest

from pipeline.errors import OptionError, OutputError
from pipeline.formats.decoding import Block, BrokenBlock
from pipeline.model.events import Ids
from pipeline.model.ids import counted_pieces, merge_pieces
from pipeline.stream.ledger import NAME, Contribution, Ledger, block_name, kept, ledger_of

SETTINGS = {"deduplicate": "False"}


def contribution(name: bytes = b"one") -> Contribution:
    ids = tuple(((0, 0), piece) for _, piece in counted_pieces(Ids.of([b"a", b"b", b"a"]), 1))
    return Contribution(name, 5, 1, 2, ((0, (1, 0, 0, 0, 0, 1)), (3600, (0, 1, 0, 0, 0, 0))), ids)


def again(folder: Path) -> Ledger:
    """A new run's ledger."""
    ledger = Ledger(str(folder))
    ledger.begin(SETTINGS)
    return ledger


def test_a_block_is_added_once_in_all_runs(tmp_path: Path) -> None:
    for run in range(3):
        ledger = again(tmp_path)
        assert ledger.has(b"one") is (run > 0)
        assert ledger.add(contribution()) is (run == 0)
        assert ledger.has(b"one")
        assert ledger.tally() == ((5, 1, 2) if run else (0, 0, 0))


def test_a_run_begins_with_what_all_earlier_ones_have_added(tmp_path: Path) -> None:
    for run in range(4):
        ledger = again(tmp_path)  # the one before was not closed, as after kill -9
        hours = {0: (run, 0, 0, 0, 0, run), 3600: (0, run, 0, 0, 0, 0)} if run else {}
        assert dict(ledger.counts()) == hours
        for place, piece in ledger.ids():
            ids, came = merge_pieces(piece)
            assert (place, sorted(ids.to_list()), came) == ((0, 0), [b"a", b"b"], 3 * run)
        assert len(list(ledger.ids())) == bool(run)
        ledger.add(contribution(bytes([run])))
        assert dict(ledger.counts()) == hours  # what this run adds is not among it


def test_keys_of_events_come_back(tmp_path: Path) -> None:
    keys = [b"one", b"twotwo", b""]
    again(tmp_path).add(Contribution(b"x", 3, 0, 0, events=Ids.of(keys)))
    assert [found.to_list() for found in again(tmp_path).events()] == [keys]


def rejecting(number: int) -> Contribution:
    return Contribution(b"%d" % number, 1, 1, 0, rejects=b"%d\n" % number)


def test_rejects_are_written_once_and_forgotten(tmp_path: Path) -> None:
    ledger, written = again(tmp_path), list[bytes]()
    for number in (1, 2, 2, 3):
        ledger.add(rejecting(number))
    ledger.write_rejects(written.append)
    ledger.write_rejects(written.append)
    ledger.add(rejecting(4))
    again(tmp_path).write_rejects(written.append)  # by the next run
    again(tmp_path).write_rejects(written.append)
    assert written == [b"1\n2\n3\n", b"4\n"]


def test_rejects_whose_writing_was_broken_off_are_written_again_as_they_were(tmp_path: Path) -> None:
    def fail(lines: bytes) -> None:
        written.append(lines)
        raise OSError("killed")

    ledger, written = again(tmp_path), list[bytes]()
    for number in range(3):
        ledger.add(rejecting(number))
        with pytest.raises(OSError, match="killed"):
            ledger.write_rejects(fail)
    after = again(tmp_path)
    after.add(rejecting(9))
    after.write_rejects(written.append)
    assert written == [b"0\n"] * 3 + [b"0\n", b"1\n", b"2\n", b"9\n"]


def test_what_is_added_while_rejects_are_written_comes_with_the_next(tmp_path: Path) -> None:
    ledger, written = again(tmp_path), list[bytes]()

    def write(lines: bytes) -> None:
        written.append(lines)
        ledger.add(rejecting(10 + len(written)))

    ledger.add(rejecting(1))
    ledger.write_rejects(write)
    ledger.write_rejects(written.append)
    assert written == [b"1\n", b"11\n"]


def test_many_rejects_are_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.stream.ledger._FILE_BYTES", 3)
    ledger, written = again(tmp_path), list[bytes]()
    for number in range(5):
        ledger.add(rejecting(number))
    ledger.write_rejects(written.append)
    assert written == [b"0\n1\n", b"2\n3\n", b"4\n"]


def test_what_breaks_off_adds_nothing(tmp_path: Path) -> None:
    ledger = again(tmp_path)
    bad = contribution()._replace(ids=(((0, 0), {}),))  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="ledger"):
        ledger.add(bad)
    assert not ledger.has(b"one")
    assert ledger.add(contribution())
    assert again(tmp_path).tally() == (5, 1, 2)


def test_other_settings_are_refused(tmp_path: Path) -> None:
    again(tmp_path)
    with pytest.raises(OptionError, match="resume: the stream was begun with deduplicate False, not True"):
        Ledger(str(tmp_path)).begin({"deduplicate": "True"})


def test_without_resume_a_ledger_is_not_left_behind_what_is_reported(tmp_path: Path) -> None:
    with kept(str(tmp_path), SETTINGS, resume=True):
        ledger_of(str(tmp_path)).add(contribution())
    assert [path.name for path in tmp_path.iterdir()] == [NAME]  # closed: no other files of SQLite's
    with (
        pytest.raises(OptionError, match="resume goes on with the stream"),
        kept(str(tmp_path), SETTINGS, resume=False),
    ):
        pass
    with kept(str(tmp_path), SETTINGS, resume=True):
        assert ledger_of(str(tmp_path)).tally() == (5, 1, 2)


def test_what_is_no_ledger(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"no database, but long enough to be looked at" * 99)
    with (
        pytest.raises(OutputError, match=r"\.hourly-report\.ledger: file is not a database"),
        kept(str(tmp_path), SETTINGS, resume=True),
    ):
        pass


def test_names_of_blocks_differ() -> None:
    blocks = [Block(b"", source="a"), Block(b"", source="b"), Block(b"", source="a", offset=1), BrokenBlock("a", "why")]
    assert len({block_name(block) for block in blocks}) == 4
    assert block_name(Block(b"x", source="a")) == block_name(blocks[0])


def test_sqlite_is_told_to_survive_the_end_of_a_process(tmp_path: Path) -> None:
    again(tmp_path)
    assert sqlite3.connect(tmp_path / NAME).execute("PRAGMA journal_mode").fetchone() == ("wal",)
