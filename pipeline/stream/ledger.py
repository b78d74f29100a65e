"""What each block of a stream has contributed, in SQLite beside the reports: a stream goes on from it after any end.

A block's contribution is kept before anything of it is reported, in one transaction with the block's name. So what a
report counts is kept, whatever is killed afterwards, and a block that is read again adds nothing. No Beam here.
"""

import contextlib
import functools
import hashlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import OptionError, OutputError
from pipeline.formats.decoding import AnyBlock
from pipeline.model.events import Ids
from pipeline.model.hour_ids import Place, union
from pipeline.model.table import HourCounts, add_counts

NAME = ".hourly-report.ledger"

_TABLES = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS blocks (name BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tally (before INTEGER, read INTEGER, rejected INTEGER, late INTEGER);
CREATE TABLE IF NOT EXISTS counts (before INTEGER, hour INTEGER, row TEXT);
CREATE TABLE IF NOT EXISTS ids (before INTEGER, hour INTEGER, part INTEGER, packed BLOB);
CREATE TABLE IF NOT EXISTS events (before INTEGER, lengths BLOB, data BLOB);
CREATE TABLE IF NOT EXISTS rejects (file INTEGER, lines BLOB);
"""  # before: 1 for what earlier runs have added, 0 for this one's

_FILE_BYTES = 4 * 1024 * 1024  # of rejects in a file


class Contribution(NamedTuple):
    """What a block adds: records; counts and ids by the hour, or where duplicates are dropped the events' keys.

    rejects: lines for a file, where they are to be written.
    """

    name: bytes
    read: int
    rejected: int
    late: int
    counts: tuple[tuple[int, HourCounts], ...] = ()
    ids: tuple[tuple[Place, bytes], ...] = ()
    events: Ids | None = None
    rejects: bytes = b""


def block_name(block: AnyBlock) -> bytes:
    """What tells a block from all others: its kind, its source, and its place in that."""
    place = f"{type(block).__name__}\0{block.source}\0{block.offset}\0{block.index}"
    return hashlib.blake2b(place.encode("utf-8", "surrogateescape"), digest_size=16).digest()


class Ledger:
    """The ledger of an output folder; for the threads of one process."""

    def __init__(self, folder: str) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(
            os.path.join(folder, NAME), isolation_level=None, check_same_thread=False, timeout=60
        )
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")  # survives the end of processes, not that of the power
        self._database.executescript(_TABLES)
        (last,) = self._database.execute("SELECT MAX(file) FROM rejects").fetchone()
        self._file, self._filled = (last or 0) + 1, 0  # of rejects that are added now

    def begin(self, settings: Mapping[str, str]) -> None:
        """Begins a run: what was added so far becomes what earlier runs have added.

        Raises:
          OptionError: those ran with other settings.
        """
        with self._transaction():
            found = dict(self._database.execute("SELECT name, value FROM settings"))
            for name, value in settings.items():
                if found.get(name, value) != value:
                    raise OptionError(f"resume: the stream was begun with {name} {found[name]}, not {value}")
            self._database.executemany("INSERT OR IGNORE INTO settings VALUES (?, ?)", settings.items())
            self._add_up(int(settings.get("id_parts", 1)))

    def _add_up(self, parts: int) -> None:
        """Earlier runs' rows as one for each key, so that a ledger grows with hours and ids, not with runs."""
        rows: dict[int, list[HourCounts]] = {}
        for hour, row in self._database.execute("SELECT hour, row FROM counts"):
            rows.setdefault(hour, []).append(_numbers(row))
        self._database.execute("DELETE FROM counts")
        self._insert_counts(1, ((hour, add_counts(parts)) for hour, parts in rows.items()))
        places = self._database.execute(
            "SELECT hour, part FROM ids GROUP BY hour, part HAVING COUNT(*) > 1 OR MIN(before) = 0"
        ).fetchall()
        for place in places:
            pieces = self._database.execute("SELECT packed FROM ids WHERE hour = ? AND part = ?", place).fetchall()
            self._database.execute("DELETE FROM ids WHERE hour = ? AND part = ?", place)
            self._insert_ids(1, [(place, union((piece for (piece,) in pieces), parts))])
        self._database.execute("UPDATE events SET before = 1")
        total = self.tally(before=False)
        self._database.execute("DELETE FROM tally")
        self._database.execute("INSERT INTO tally VALUES (1, ?, ?, ?)", total)

    def has(self, name: bytes) -> bool:
        """Whether a block has contributed."""
        with self._lock:
            return self._database.execute("SELECT 1 FROM blocks WHERE name = ?", (name,)).fetchone() is not None

    def add(self, new: Contribution) -> bool:
        """Keeps a block's contribution, unless it was kept before; whether it is new."""
        with self._transaction():
            if not self._database.execute("INSERT OR IGNORE INTO blocks VALUES (?)", (new.name,)).rowcount:
                return False
            self._database.execute("INSERT INTO tally VALUES (0, ?, ?, ?)", (new.read, new.rejected, new.late))
            self._insert_counts(0, new.counts)
            self._insert_ids(0, new.ids)
            if new.events is not None and len(new.events.ends):
                lengths = np.diff(new.events.ends, prepend=0).astype("<u4").tobytes()
                self._database.execute("INSERT INTO events VALUES (0, ?, ?)", (lengths, new.events.data.tobytes()))
            if new.rejects:
                self._insert_rejects(new.rejects)
            return True

    def _insert_rejects(self, lines: bytes) -> None:
        self._database.execute("INSERT INTO rejects VALUES (?, ?)", (self._file, lines))
        self._filled += len(lines)
        if self._filled > _FILE_BYTES:
            self._file, self._filled = self._file + 1, 0

    def write_rejects(self, write: Callable[[bytes], Any]) -> None:
        """Writes the rejects of all blocks, a file at a time, and forgets them then.

        A file that was written and not forgotten, since the process was killed, is written again with the same bytes.
        """
        with self._lock:
            self._file, self._filled = self._file + 1, 0
            files = self._database.execute("SELECT DISTINCT file FROM rejects WHERE file < ?", (self._file,)).fetchall()
        for file in files:
            with self._lock:
                rows = self._database.execute(
                    "SELECT lines FROM rejects WHERE file = ? ORDER BY rowid", file
                ).fetchall()
            if rows:  # else another thread has written them
                write(b"".join(lines for (lines,) in rows))
            with self._transaction():
                self._database.execute("DELETE FROM rejects WHERE file = ?", file)

    def _insert_counts(self, before: int, counts: Iterable[tuple[int, HourCounts]]) -> None:
        rows = ((before, hour, " ".join(map(str, row))) for hour, row in counts)
        self._database.executemany("INSERT INTO counts VALUES (?, ?, ?)", rows)

    def _insert_ids(self, before: int, ids: Iterable[tuple[Place, bytes]]) -> None:
        rows = ((before, hour, part, packed) for (hour, part), packed in ids)
        self._database.executemany("INSERT INTO ids VALUES (?, ?, ?, ?)", rows)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of the block's changes or none. OutputError where the file system has no room, or is damaged."""
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                yield
                self._database.execute("COMMIT")
            except sqlite3.Error as error:
                raise OutputError(f"ledger {NAME}: {error}") from None
            finally:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")

    def tally(self, before: bool = True) -> tuple[int, int, int]:
        """Records read, rejected and late: of earlier runs, or of all."""
        total = "SELECT TOTAL(read), TOTAL(rejected), TOTAL(late) FROM tally WHERE before >= ?"
        read, rejected, late = self._database.execute(total, (int(before),)).fetchone()
        return int(read), int(rejected), int(late)

    def counts(self) -> Iterator[tuple[int, HourCounts]]:
        """Earlier runs' counts by the start of their hour."""
        yield from ((hour, _numbers(row)) for hour, row in self._rows("counts", "hour, row"))

    def ids(self) -> Iterator[tuple[Place, bytes]]:
        """Earlier runs' packed ids by place."""
        yield from (((hour, part), packed) for hour, part, packed in self._rows("ids", "hour, part, packed"))

    def events(self) -> Iterator[Ids]:
        """The keys of earlier runs' events, those of a block at a time."""
        for lengths, data in self._rows("events", "lengths, data"):
            ends = np.cumsum(np.frombuffer(lengths, "<u4"), dtype=np.int64)
            yield Ids(ends, np.frombuffer(data, np.uint8))

    def _rows(self, table: str, columns: str) -> Iterator[Any]:
        """Earlier runs' rows of a table, one by one: meanwhile other threads add theirs."""
        with self._lock:
            numbers = self._database.execute(f"SELECT rowid FROM {table} WHERE before = 1").fetchall()
        for number in numbers:
            with self._lock:
                row = self._database.execute(f"SELECT {columns} FROM {table} WHERE rowid = ?", number).fetchone()
            yield row

    def close(self) -> None:
        """Closes it, which makes one file of it."""
        with self._lock:
            self._database.close()


def _numbers(row: str) -> HourCounts:
    return tuple(map(int, row.split()))


@functools.cache
def ledger_of(folder: str) -> Ledger:
    """A folder's ledger, made where there is none; one for the process."""
    return Ledger(folder)


@contextlib.contextmanager
def kept(folder: str, settings: Mapping[str, str], resume: bool) -> Iterator[None]:
    """Begins a run with a folder's ledger, and closes that at the end; without resume, sees that there is none.

    Raises:
      OptionError: the stream was run with other settings, or with a ledger that this run would not keep.
    """
    if not resume:
        if os.path.exists(os.path.join(folder, NAME)):
            raise OptionError(f"resume goes on with the stream of {folder}; to begin anew, take another folder")
        yield
        return
    try:
        ledger_of(folder).begin(settings)
        yield
    except sqlite3.Error as error:
        raise OutputError(f"{os.path.join(folder, NAME)}: {error}") from None
    finally:
        with contextlib.suppress(sqlite3.Error):
            ledger_of(folder).close()
        ledger_of.cache_clear()
