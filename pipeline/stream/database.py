"""The SQLite database of a ledger: its tables and transactions."""

import contextlib
import functools
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.errors import OutputError, StartOverError
from pipeline.storage.files import printable_path

NAME = ".hourly-report.ledger"

_VERSION = 4
_TABLES = f"""
PRAGMA user_version = {_VERSION};
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE tally (name TEXT PRIMARY KEY, records INTEGER);
CREATE TABLE files (path BLOB PRIMARY KEY, size INTEGER, modified INTEGER, done INTEGER) WITHOUT ROWID;
CREATE TABLE blocks (path BLOB, block TEXT, PRIMARY KEY (path, block)) WITHOUT ROWID;
CREATE TABLE hours (hour INTEGER PRIMARY KEY, counts TEXT, final INTEGER);
CREATE TABLE sets (number INTEGER PRIMARY KEY AUTOINCREMENT, hour INTEGER, shard INTEGER, events INTEGER, packed BLOB);
CREATE TABLE rejects (number INTEGER PRIMARY KEY AUTOINCREMENT, lines BLOB);
CREATE INDEX sets_of_hours ON sets (hour, shard);
"""  # files.path: path_key. blocks: of files that are not done. sets: ids or event keys of hours that are not final.

_LOCK_SECONDS, _RETRY_SECONDS = 60, 1  # wait for another program's lock


class Database:
    """A connection shared by the threads of one process. Raises sqlite3.Error."""

    def __init__(self, folder: str) -> None:
        self.path, self._lock = os.path.join(folder, NAME), threading.RLock()
        self._connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=_RETRY_SECONDS
        )
        self._inode = os.stat(self.path).st_ino
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")  # files of commits lost in a power cut are read again
        with self.transaction():
            self._make_tables()

    def _make_tables(self) -> None:
        if not self.number("SELECT COUNT(*) FROM sqlite_master"):
            for statement in _TABLES.split(";"):
                self.run(statement)
        elif self.number("PRAGMA user_version") != _VERSION:
            raise StartOverError(
                f"{printable_path(self.path)}: created by another version of this program; resume with that version"
            )

    def run(self, statement: str, *values: Any) -> list[Any]:
        """Runs a statement, in a transaction if it changes rows; returns the rows of a query."""
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def number(self, query: str, *values: Any) -> int:
        """Returns the single value of a query, 0 for NULL."""
        return self.run(query, *values)[0][0] or 0

    def run_many(self, statement: str, values: Iterable[Any]) -> None:
        """Runs a statement once for each row of values, in a transaction."""
        self._connection.executemany(statement, values)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commits all changes of the block or none; blocks other threads.

        Raises:
          OutputError: the database was removed, is locked by another program, or cannot be written.
        """
        with self._lock:
            try:
                self._begin()
                yield
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                reason = f"still locked by another program after {_LOCK_SECONDS} s; stop it and start again"
                raise OutputError(f"{printable_path(self.path)}: {reason if _is_locked(error) else error}") from None
            finally:
                with contextlib.suppress(sqlite3.Error):  # it was closed
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")

    def _begin(self) -> None:
        if not _is_at(self.path, self._inode):
            raise OutputError(f"{printable_path(self.path)}: removed or replaced while the stream was running")
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not _is_locked(error) or time.monotonic() > deadline:
                    raise
                warn_once(f"{printable_path(self.path)}: locked by another program; waiting")

    def close(self) -> None:
        """Closes the connection; SQLite then removes its write-ahead log."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._connection.close()


def has_tables(folder: str) -> bool:
    """Returns whether a folder has a database with tables; a file that is no database counts as one."""
    path = os.path.join(folder, NAME)
    if not os.path.exists(path):
        return False
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return bool(connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0])
    except sqlite3.Error:
        return True  # opening it tells why


def _is_at(path: str, inode: int) -> bool:
    try:
        return os.stat(path).st_ino == inode
    except OSError:
        return False


def _is_locked(error: sqlite3.Error) -> bool:
    return "is locked" in str(error)


@functools.lru_cache(maxsize=10_000)
def warn_once(message: str) -> None:
    """Logs a warning unless it was logged before."""
    logging.getLogger(__name__).warning("%s", message)
