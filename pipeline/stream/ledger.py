"""The ledger of a stream on this machine, in SQLite beside its reports: which files were counted, and what they held.

What a bundle has decoded is committed before anything of it is reported, in one transaction with its files. So what a
report counts is in the ledger, whatever is killed afterwards, and a file that is done is never opened again. No Beam
here.
"""

import contextlib
import dataclasses
import enum
import functools
import hashlib
import logging
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from pipeline.errors import ChangedOptionError, MismatchError, OutputError, StartOverError
from pipeline.model.coverage import expected_checksum
from pipeline.model.events import Ids
from pipeline.model.hour_ids import Place, union
from pipeline.model.table import HourCounts, add_counts
from pipeline.storage.files import InputFile, printable_path

NAME = ".hourly-report.ledger"

_VERSION = 3
_TABLES = f"""
PRAGMA user_version = {_VERSION};
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE tally (name TEXT PRIMARY KEY, records INTEGER);
CREATE TABLE files (path BLOB PRIMARY KEY, size INTEGER, modified INTEGER, done INTEGER) WITHOUT ROWID;
CREATE TABLE blocks (path BLOB, place TEXT, PRIMARY KEY (path, place)) WITHOUT ROWID;
CREATE TABLE hours (hour INTEGER PRIMARY KEY, counts TEXT, final INTEGER);
CREATE TABLE ids (number INTEGER PRIMARY KEY AUTOINCREMENT, hour INTEGER, part INTEGER, packed BLOB);
CREATE TABLE events (number INTEGER PRIMARY KEY AUTOINCREMENT, hour INTEGER, lengths BLOB, data BLOB);
CREATE TABLE rejects (file INTEGER, lines BLOB);
CREATE INDEX ids_of_hours ON ids (hour, part);
CREATE INDEX events_of_hours ON events (hour);
"""  # files.path: a digest. blocks: of files that are not done. ids, events: of hours that are not final.

_REJECTS_BYTES = 4 * 1024 * 1024  # in a file
_GROWTH, _LEAST_BYTES = 4, 16 * 1024 * 1024  # ids of an hour are united when they are so many times as large, and more
_WAIT_SECONDS = 60  # for another program's lock
_TELL_SECONDS = 1

Look = tuple[int, int]
"""A file's size in bytes, and its modification time as precisely as the file system has it."""


class Known(enum.Enum):
    """What the ledger knows of a file."""

    NEW = enum.auto()
    PARTLY = enum.auto()
    DONE = enum.auto()
    CHANGED = enum.auto()


def look_of(file: InputFile) -> Look:
    """A file's size and modification time."""
    precise = file.version[1] if file.version else None
    return file.size, precise if isinstance(precise, int) else file.modified


def digest(path: str) -> bytes:
    """A path's key."""
    return hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=16).digest()


@dataclasses.dataclass
class OpenFile:
    """A file that was handed out to be read.

    Attributes:
      key: of its real path.
      look: as it was found.
      found: when it was handed out, Unix seconds.
      partly: whether an earlier attempt has counted some of its blocks.
      rest: what the balance of its blocks still lacks.
      broken: whether a part of it cannot be decoded, so that the balance says nothing.
    """

    key: bytes
    look: Look
    found: float
    partly: bool
    rest: int
    broken: bool = False


@dataclasses.dataclass
class Contribution:
    """What a bundle adds to the ledger.

    Attributes:
      tally: records by what became of them.
      blocks: each with its file, its place in that, and its balance; the last one says whether it is new.
      counts: of an hour's start. ids: packed, by place. events: keys by an hour's start, where duplicates are dropped.
      rejects: lines.
    """

    tally: Counter[str] = dataclasses.field(default_factory=Counter)
    blocks: list[tuple[OpenFile, str, int, bool]] = dataclasses.field(default_factory=list)
    counts: dict[int, HourCounts] = dataclasses.field(default_factory=dict)
    ids: dict[Place, list[bytes]] = dataclasses.field(default_factory=dict)
    events: list[tuple[int, Ids]] = dataclasses.field(default_factory=list)
    rejects: list[bytes] = dataclasses.field(default_factory=list)
    nbytes: int = 0

    def add_counts(self, hour: int, row: HourCounts) -> None:
        """Adds counts of an hour."""
        self.counts[hour] = add_counts([self.counts[hour], row]) if hour in self.counts else row

    def add_ids(self, place: Place, packed: bytes) -> None:
        """Adds ids of a place."""
        self.ids.setdefault(place, []).append(packed)
        self.nbytes += len(packed)

    def add_events(self, hour: int, keys: Ids) -> None:
        """Adds the keys of an hour's events."""
        self.events.append((hour, keys))
        self.nbytes += len(keys.data) + 4 * len(keys.ends)

    def add_rejects(self, lines: bytes) -> None:
        """Adds rejects."""
        if lines:
            self.rejects.append(lines)
            self.nbytes += len(lines)


class Ledger:
    """The ledger of an output folder; for the threads of one process.

    Attributes:
      known: files that were found and need no reading, while they are there.
      open: files that are being read, by the name that their blocks have.
      final: starts of hours whose reports are final.
      earlier_tally: what `tally` was when this run began.
    """

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, NAME)
        self.known: dict[bytes, Look] = {}
        self.open: dict[str, OpenFile] = {}
        self._abandoned: set[bytes] = set()
        self._lock = threading.RLock()
        self._database = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=_TELL_SECONDS
        )
        with self._transaction():
            self._make_tables()
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")  # what a power cut takes of it is read again
        self._inode = os.stat(self.path).st_ino

    def _make_tables(self) -> None:
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        tables = self._database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
        if not tables:
            for statement in _TABLES.split(";"):
                self._database.execute(statement)
        elif version != _VERSION:
            raise StartOverError(
                f"{printable_path(self.path)}: was made by another version of this program: continue with that one"
            )

    def begin(self, settings: Mapping[str, str]) -> None:
        """Begins a run with what earlier ones have added.

        Raises:
          ChangedOptionError: those ran with other settings.
          StartOverError: it is the ledger of another folder.
        """
        with self._transaction():
            found = dict(self._database.execute("SELECT name, value FROM settings"))
            folder = printable_path(os.path.realpath(os.path.dirname(self.path)))
            if found.setdefault("folder", folder) != folder:
                raise StartOverError(f"{printable_path(self.path)}: belongs to {found['folder']}: continue there")
            for name, value in settings.items():
                if found.setdefault(name, value) != value:
                    raise ChangedOptionError(
                        f"{name}: this stream was started {_with(found[name])}, not {_with(value)}: use the same"
                    )
            self._database.executemany("INSERT OR IGNORE INTO settings VALUES (?, ?)", found.items())
            self._begin_rows()

    def _begin_rows(self) -> None:
        rows = self._database.execute("SELECT hour, counts FROM hours WHERE final = 0")
        self._counts = {hour: _numbers(row) for hour, row in rows}
        self.final = {hour for (hour,) in self._database.execute("SELECT hour FROM hours WHERE final = 1")}
        places = self._database.execute("SELECT hour, part FROM ids GROUP BY hour, part HAVING COUNT(*) > 1").fetchall()
        for place in places:
            self._unite(place, 0)
        self._earlier, self.earlier_tally = dict(self._counts), self.tally()
        self._last = {table: self._number(f"SELECT MAX(number) FROM {table}") for table in ("ids", "events")}
        self._sizes: dict[Place, tuple[int, int]] = {}  # of ids by this run: united, and since then
        self._file, self._filled = self._number("SELECT MAX(file) FROM rejects") + 1, 0

    def _number(self, query: str, *values: Any) -> int:
        return self._database.execute(query, values).fetchone()[0] or 0

    def state(self, key: bytes, look: Look) -> Known:
        """What is known of a file that was found."""
        with self._lock:
            row = self._database.execute("SELECT size, modified, done FROM files WHERE path = ?", (key,)).fetchone()
        if row is None:
            return Known.NEW
        if row[:2] != look:
            return Known.CHANGED
        return Known.DONE if row[2] else Known.PARTLY

    def hand_out(self, file: InputFile, key: bytes, found: float) -> None:
        """Notes that a file is going to be read."""
        look = look_of(file)
        partly = self.state(key, look) is Known.PARTLY
        with self._lock:
            self.open[file.name] = OpenFile(key, look, found, partly, expected_checksum([file.path]))

    def abandon(self, name: str, reason: str) -> None:
        """Gives up an attempt to read a file, and says so once: the watch hands it out again."""
        _tell_once(f"{reason}; it is tried again")
        with self._lock:
            self._abandoned.add(self.open.pop(name).key)

    def take_abandoned(self) -> set[bytes]:
        """The files that are to be read again."""
        with self._lock:
            taken, self._abandoned = self._abandoned, set()
            return taken

    def has(self, file: OpenFile, place: str) -> bool:
        """Whether a block was counted by an earlier attempt."""
        if not file.partly:
            return False
        query = "SELECT COUNT(*) FROM blocks WHERE path = ? AND place = ?"
        with self._lock:
            return self._number(query, file.key, place) > 0

    def add(self, new: Contribution) -> None:
        """Commits what a bundle adds.

        Raises:
          MismatchError: a block came twice.
          OutputError: the ledger cannot be written.
        """
        with self._transaction():
            self._insert_files(new.blocks)
            self._add_tally(new.tally)
            for hour, row in new.counts.items():
                self._counts[hour] = add_counts([self._counts[hour], row]) if hour in self._counts else row
            rows = [(hour, " ".join(map(str, self._counts[hour]))) for hour in new.counts]
            self._database.executemany("INSERT OR REPLACE INTO hours VALUES (?, ?, 0)", rows)
            for place, pieces in new.ids.items():
                self._insert_ids(place, union(pieces))
            self._insert_events(new.events)
            for lines in new.rejects:
                self._insert_rejects(lines)

    def _insert_files(self, blocks: Iterable[tuple[OpenFile, str, int, bool]]) -> None:
        files = {file.key: file for file, *_ in blocks}
        new: dict[bytes, list[tuple[bytes, str]]] = {}
        for file, place, balance, is_new in blocks:
            file.rest -= balance
            if is_new:
                new.setdefault(file.key, []).append((file.key, place))
        for key, file in files.items():
            row = key, *file.look, not file.rest
            self._database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", row)
            if file.rest:
                self._insert_blocks(new.get(key, []))
            else:
                self._database.execute("DELETE FROM blocks WHERE path = ?", (key,))
        done = {file.key for file in files.values() if not file.rest}
        self.open = {name: file for name, file in self.open.items() if file.key not in done}

    def _insert_blocks(self, rows: list[tuple[bytes, str]]) -> None:
        try:
            self._database.executemany("INSERT INTO blocks VALUES (?, ?)", rows)
        except sqlite3.IntegrityError:
            raise MismatchError("a block of a file was read twice: please report this") from None

    def _add_tally(self, tally: Mapping[str, int]) -> None:
        query = "INSERT INTO tally VALUES (?, ?) ON CONFLICT DO UPDATE SET records = records + excluded.records"
        self._database.executemany(query, tally.items())

    def _insert_ids(self, place: Place, packed: bytes) -> None:
        self._database.execute("INSERT INTO ids (hour, part, packed) VALUES (?, ?, ?)", (*place, packed))
        united, since = self._sizes.get(place, (0, 0))
        since += len(packed)
        if since > _GROWTH * united + _LEAST_BYTES:
            united, since = self._unite(place, self._last["ids"]), 0
        self._sizes[place] = united, since

    def _unite(self, place: Place, after: int) -> int:
        """Makes one row of those of a place, so that the ledger grows with different ids alone; its bytes."""
        rows = "FROM ids WHERE hour = ? AND part = ? AND number > ?"
        found = self._database.execute(f"SELECT packed {rows}", (*place, after)).fetchall()
        packed = union(piece for (piece,) in found)
        self._database.execute(f"DELETE {rows}", (*place, after))
        self._database.execute("INSERT INTO ids (hour, part, packed) VALUES (?, ?, ?)", (*place, packed))
        return len(packed)

    def _insert_events(self, events: Iterable[tuple[int, Ids]]) -> None:
        for hour, keys in events:
            lengths = np.diff(keys.ends, prepend=0).astype("<u4").tobytes()
            row = hour, lengths, keys.data.tobytes()
            self._database.execute("INSERT INTO events (hour, lengths, data) VALUES (?, ?, ?)", row)

    def least(self, hour: int) -> int:
        """How many events of an hour, at least, reports of earlier runs may hold."""
        return sum(self._earlier.get(hour, ()))

    def note_counts(self, hour: int, counts: HourCounts) -> None:
        """Notes what a report is going to hold, where duplicates are dropped."""
        with self._transaction():
            row = hour, " ".join(map(str, counts))
            self._database.execute("INSERT OR REPLACE INTO hours VALUES (?, ?, 0)", row)

    def close_hour(self, hour: int, counts: HourCounts) -> None:
        """Notes that a report is final, and releases what was kept for it."""
        with self._transaction():
            keys = self._number("SELECT SUM(LENGTH(lengths)) FROM events WHERE hour = ?", hour) // 4
            self._add_tally({"duplicate": keys - sum(counts)} if keys else {})
            self._database.execute("DELETE FROM events WHERE hour = ?", (hour,))
            self._database.execute("DELETE FROM ids WHERE hour = ?", (hour,))
            row = hour, " ".join(map(str, counts))
            self._database.execute("INSERT OR REPLACE INTO hours VALUES (?, ?, 1)", row)
        self._counts.pop(hour, None)
        self._sizes = {place: sizes for place, sizes in self._sizes.items() if place[0] != hour}
        self.final = {*self.final, hour}

    def _insert_rejects(self, lines: bytes) -> None:
        self._database.execute("INSERT INTO rejects VALUES (?, ?)", (self._file, lines))
        self._filled += len(lines)
        if self._filled > _REJECTS_BYTES:
            self._file, self._filled = self._file + 1, 0

    def write_rejects(self, write: Callable[[bytes], Any]) -> None:
        """Writes the rejects, a file at a time, and forgets them then.

        A file that was written and not forgotten, since the process was killed, is written again with the same bytes.
        """
        with self._lock:
            self._file, self._filled = self._file + 1, 0
            files = self._database.execute("SELECT DISTINCT file FROM rejects WHERE file < ?", (self._file,)).fetchall()
        for file in files:
            with self._lock:
                query = "SELECT lines FROM rejects WHERE file = ? ORDER BY rowid"
                rows = self._database.execute(query, file).fetchall()
            if rows:  # else another thread has written them
                write(b"".join(lines for (lines,) in rows))
            with self._transaction():
                self._database.execute("DELETE FROM rejects WHERE file = ?", file)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of the block's changes or none; OutputError where they cannot be made."""
        with self._lock:
            try:
                self._begin_transaction()
                yield
                self._database.execute("COMMIT")
            except sqlite3.Error as error:
                raise OutputError(f"{printable_path(self.path)}: {_reason(error)}") from None
            finally:
                with contextlib.suppress(sqlite3.Error):  # it was closed
                    if self._database.in_transaction:
                        self._database.execute("ROLLBACK")

    def _begin_transaction(self) -> None:
        if hasattr(self, "_inode") and not _is_at(self.path, self._inode):
            raise OutputError(f"{printable_path(self.path)}: was removed or replaced while the stream was running")
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not _is_locked(error) or time.monotonic() > deadline:
                    raise
                _tell_once(f"{printable_path(self.path)}: is locked by another program; waiting for it")

    def tally(self) -> Counter[str]:
        """Records by what became of them, with the counted ones of final hours."""
        with self._lock:
            final = self._database.execute("SELECT counts FROM hours WHERE final = 1").fetchall()
            counted = sum(sum(_numbers(row)) for (row,) in final)
            return Counter({**dict(self._database.execute("SELECT name, records FROM tally")), "counted": counted})

    def counts(self) -> Iterator[tuple[int, HourCounts]]:
        """Earlier runs' counts of hours that are not final, by their starts."""
        yield from self._earlier.items()

    def ids(self) -> Iterator[tuple[Place, bytes]]:
        """Earlier runs' packed ids of hours that are not final, by place."""
        yield from (((hour, part), packed) for hour, part, packed in self._rows("ids", "hour, part, packed"))

    def events(self) -> Iterator[Ids]:
        """The keys of earlier runs' events of hours that are not final."""
        for lengths, data in self._rows("events", "lengths, data"):
            ends = np.cumsum(np.frombuffer(lengths, "<u4"), dtype=np.int64)
            yield Ids(ends, np.frombuffer(data, np.uint8))

    def _rows(self, table: str, columns: str) -> Iterator[Any]:
        """Earlier runs' rows of a table, one by one: meanwhile other threads add theirs."""
        number, query = 0, f"SELECT number, {columns} FROM {table} WHERE number > ? AND number <= ? ORDER BY number"
        while True:
            with self._lock:
                row = self._database.execute(f"{query} LIMIT 1", (number, self._last[table])).fetchone()
            if row is None:
                return
            number, *values = row
            yield values

    def check_done(self) -> None:
        """Raises MismatchError where files that were handed out were not read to their end."""
        left = [name for name, file in self.open.items() if not file.broken]
        if left:
            raise MismatchError(
                f"the blocks that were read of {left[0]} do not add up to it: something was left out or read twice; "
                "please report this"
            )

    def close(self) -> None:
        """Closes it, which makes one file of it."""
        with self._lock:
            self._database.close()


def _is_at(path: str, inode: int) -> bool:
    try:
        return os.stat(path).st_ino == inode
    except OSError:
        return False


def _is_locked(error: sqlite3.Error) -> bool:
    return "is locked" in str(error)


def _reason(error: sqlite3.Error) -> str:
    if _is_locked(error):
        return f"is locked by another program, which was waited for {_WAIT_SECONDS} s: end that, and start again"
    return str(error)


def _with(value: str) -> str:
    return "without it" if value == "None" else f"with {value}"


@functools.lru_cache(maxsize=100)
def _tell_once(message: str) -> None:
    logging.getLogger(__name__).warning("%s", message)


def _numbers(row: str) -> HourCounts:
    return tuple(map(int, row.split()))


_ledgers: dict[str, Ledger] = {}


def ledger_of(folder: str) -> Ledger:
    """The ledger that this process keeps in a folder."""
    return _ledgers[folder]


@contextlib.contextmanager
def kept(folder: str, settings: Mapping[str, str]) -> Iterator[Ledger]:
    """Begins a run with a folder's ledger, made where there is none, and closes it at the end.

    Raises:
      UsageError: it does not belong to the folder, or to a stream with these settings.
      OutputError: it cannot be opened.
    """
    try:
        ledger = _ledgers[folder] = Ledger(folder)
    except sqlite3.Error as error:
        raise OutputError(f"{printable_path(os.path.join(folder, NAME))}: {error}") from None
    try:
        ledger.begin(settings)
        yield ledger
    finally:
        with contextlib.suppress(sqlite3.Error):
            ledger.close()
        del _ledgers[folder]
