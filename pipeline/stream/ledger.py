"""The ledger of a local stream: a database of counted files and events, beside the reports. Does not depend on Beam.

Each bundle and its files are committed in one transaction before its events are reported. A killed stream therefore
loses nothing, and a counted file is never opened again.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from pipeline.errors import ChangedOptionError, MismatchError, OutputError, StartOverError
from pipeline.model.ids import HourShard, event_count, union
from pipeline.model.table import HourCounts, add_counts
from pipeline.model.tally import expected_checksum
from pipeline.storage.files import InputFile, printable_path
from pipeline.stream.database import NAME, Database, warn_once

_KEYS_PER_QUERY = 500  # single queries took twice the time
_REJECTS_BYTES = 4 * 1024 * 1024  # per file of rejects
_MERGE_FACTOR, _MIN_MERGE_BYTES = 4, 16 * 1024 * 1024  # merge sets after growth by this factor and this many bytes

FileSignature = tuple[int, int]
"""Size of a file in bytes, and its modification time in the precision of the file system."""


def signature_of(file: InputFile) -> FileSignature:
    """Returns the size and modification time of a listed file."""
    precise = file.version[1] if file.version else None
    return file.size, precise if isinstance(precise, int) else file.modified


def path_key(path: str) -> bytes:
    """Returns the key of a real path: its hash."""
    return hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=16).digest()


@dataclasses.dataclass
class OpenFile:
    """A file that is being read.

    Attributes:
      name: source of its blocks.
      key: path_key of its real path.
      signature: when it was found.
      found: when its reading started, Unix seconds.
      missing: coverage checksum of the blocks that are not counted yet, 0 at the end.
      counted: names of its blocks that an earlier run counted.
      broken: whether a block cannot be decoded, so that `missing` never reaches 0.
    """

    name: str
    key: bytes
    signature: FileSignature
    found: float
    missing: int
    counted: frozenset[str] = frozenset()
    broken: bool = False


@dataclasses.dataclass
class Contribution:
    """The ledger entries of a block or bundle.

    Attributes:
      tally: records read, rejected and late.
      blocks: file, name in the file, coverage checksum, and whether the block is new.
      counts: by the start of the hour.
      sets: packed ids, or event keys when duplicates are dropped.
      rejects: encoded lines.
      nbytes: size of the added sets and rejects.
    """

    tally: Counter[str] = dataclasses.field(default_factory=Counter)
    blocks: list[tuple[OpenFile, str, int, bool]] = dataclasses.field(default_factory=list)
    counts: dict[int, HourCounts] = dataclasses.field(default_factory=dict)
    sets: dict[HourShard, list[bytes]] = dataclasses.field(default_factory=dict)
    rejects: list[bytes] = dataclasses.field(default_factory=list)
    nbytes: int = 0

    def add(self, other: "Contribution") -> None:
        """Adds the contribution of another block, except for its name."""
        self.tally.update(other.tally)
        for hour, row in other.counts.items():
            _add_row(self.counts, hour, row)
        for shard, packed in other.sets.items():
            self.sets.setdefault(shard, []).extend(packed)
        self.rejects += other.rejects
        self.nbytes += sum(map(len, itertools.chain(other.rejects, *other.sets.values())))


class Ledger:
    """The ledger of an output folder, shared by the threads of one process.

    Attributes:
      known: signatures of present files that are read or being read, by key.
      open: files that are being read, by name.
      final: starts of hours whose reports are final.
      earlier_counts: counts by earlier runs of the hours that are not final.
      earlier_tally: all other records of earlier runs.
    """

    def __init__(self, folder: str, settings: Mapping[str, str]) -> None:
        self.database = Database(folder)
        self.known: dict[bytes, FileSignature] = {}
        self.open: dict[str, OpenFile] = {}
        self._writing_rejects = threading.Lock()
        with self.database.transaction():
            self._check_settings(settings)
            self._load()

    def _check_settings(self, settings: Mapping[str, str]) -> None:
        path = self.database.path
        found = dict(self.database.run("SELECT name, value FROM settings"))
        folder = printable_path(os.path.realpath(os.path.dirname(path)))
        if found.setdefault("folder", folder) != folder:
            raise StartOverError(f"{printable_path(path)}: copied from {found['folder']}; resume the stream there")
        for name, value in settings.items():
            if found.setdefault(name, value) != value:
                given, recorded = ("unset" if text == "None" else text for text in (value, found[name]))
                raise ChangedOptionError(f"{name} {given} differs from the ledger ({recorded})")
        self.database.run_many("INSERT OR IGNORE INTO settings VALUES (?, ?)", found.items())

    def _load(self) -> None:
        rows = self.database.run("SELECT hour, counts FROM hours WHERE final = 0")
        self.earlier_counts = {hour: _numbers(row) for hour, row in rows}
        self._counts = dict(self.earlier_counts)
        self.final = frozenset(hour for (hour,) in self.database.run("SELECT hour FROM hours WHERE final = 1"))
        for shard in self.database.run("SELECT hour, shard FROM sets GROUP BY hour, shard HAVING COUNT(*) > 1"):
            self._merge_sets(shard, 0)
        self._last_set = self.database.number("SELECT MAX(number) FROM sets")
        self._merged: dict[HourShard, tuple[int, int]] = {}  # bytes of this run's sets: merged, added since
        self.earlier_tally = self.tally()

    def find(self, keys: Collection[bytes]) -> dict[bytes, tuple[FileSignature, bool]]:
        """Returns the signature of each file that was read, and whether it was read to its end."""
        found, remaining = {}, iter(keys)
        while chunk := list(itertools.islice(remaining, _KEYS_PER_QUERY)):
            query = f"SELECT path, size, modified, done FROM files WHERE path IN ({','.join('?' * len(chunk))})"
            for key, size, modified, done in self.database.run(query, *chunk):
                found[key] = (size, modified), bool(done)
        return found

    def unfinished(self) -> set[bytes]:
        """Returns the keys of the files that were not read to their end."""
        return {key for (key,) in self.database.run("SELECT path FROM files WHERE done = 0")}

    def start_file(self, file: InputFile, key: bytes, found: float) -> None:
        """Registers a file that is about to be read; found: Unix seconds."""
        counted = frozenset(block for (block,) in self.database.run("SELECT block FROM blocks WHERE path = ?", key))
        checksum = expected_checksum([file.path])
        self.open[file.name] = OpenFile(file.name, key, signature_of(file), found, checksum, counted)

    def abandon_file(self, name: str, reason: str) -> None:
        """Gives up an attempt to read a file, with a warning; the watch emits it again."""
        warn_once(f"{reason}; retrying")
        self.known.pop(self.open.pop(name).key, None)

    def add(self, new: Contribution) -> None:
        """Commits a bundle.

        Raises:
          MismatchError: a block was read twice.
          OutputError: the ledger cannot be written.
        """
        with self.database.transaction():
            self._insert_blocks(new.blocks)
            self._add_tally(new.tally)
            for hour, row in new.counts.items():
                _add_row(self._counts, hour, row)
                self._replace_hour(hour, self._counts[hour])
            for shard, packed in new.sets.items():
                self._add_set(shard, union(packed))
            if new.rejects:
                self.database.run("INSERT INTO rejects (lines) VALUES (?)", b"".join(new.rejects))

    def _insert_blocks(self, blocks: Iterable[tuple[OpenFile, str, int, bool]]) -> None:
        files = {file.key: file for file, *_ in blocks}
        for file, _, checksum, _ in blocks:
            file.missing -= checksum
        rows = [(key, *file.signature, not file.missing) for key, file in files.items()]
        self.database.run_many("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)
        new = [(file.key, name) for file, name, _, is_new in blocks if is_new and file.missing]
        try:
            self.database.run_many("INSERT INTO blocks VALUES (?, ?)", new)
        except sqlite3.IntegrityError:
            raise MismatchError("a block of a file was read twice; please report this bug") from None
        for file in files.values():
            if not file.missing:
                self.database.run("DELETE FROM blocks WHERE path = ?", file.key)
                self.open.pop(file.name, None)

    def _add_tally(self, tally: Mapping[str, int]) -> None:
        query = "INSERT INTO tally VALUES (?, ?) ON CONFLICT DO UPDATE SET records = records + excluded.records"
        self.database.run_many(query, tally.items())

    def _replace_hour(self, hour: int, counts: HourCounts, is_final: bool = False) -> None:
        self.database.run("INSERT OR REPLACE INTO hours VALUES (?, ?, ?)", hour, " ".join(map(str, counts)), is_final)

    def _add_set(self, shard: HourShard, packed: bytes) -> None:
        """Adds a set, and merges those of its shard when they have grown, which drops repeated ids."""
        self._insert_set(shard, packed)
        merged, added = self._merged.get(shard, (0, 0))
        added += len(packed)
        if added > _MERGE_FACTOR * merged + _MIN_MERGE_BYTES:
            merged, added = self._merge_sets(shard, self._last_set), 0
        self._merged[shard] = merged, added

    def _merge_sets(self, shard: HourShard, after: int) -> int:
        """Replaces the sets of a shard after a number by their union; returns its size in bytes."""
        rows = "FROM sets WHERE hour = ? AND shard = ? AND number > ?"
        found = self.database.run(f"SELECT packed {rows}", *shard, after)
        packed = union(packed for (packed,) in found)
        self.database.run(f"DELETE {rows}", *shard, after)
        self._insert_set(shard, packed)
        return len(packed)

    def _insert_set(self, shard: HourShard, packed: bytes) -> None:
        query = "INSERT INTO sets (hour, shard, events, packed) VALUES (?, ?, ?, ?)"
        self.database.run(query, *shard, event_count(packed), packed)

    def record_report(self, hour: int, counts: HourCounts, is_final: bool = False) -> None:
        """Records the counts of a report that is final or without duplicates; a final hour's sets are deleted."""
        with self.database.transaction():
            self._replace_hour(hour, counts, is_final)
            if not is_final:
                return
            events = self.database.number("SELECT SUM(events) FROM sets WHERE hour = ?", hour)
            self._add_tally({"duplicate": events - sum(counts)} if events else {})
            self.database.run("DELETE FROM sets WHERE hour = ?", hour)
            self._counts.pop(hour, None)
            self._merged = {shard: sizes for shard, sizes in self._merged.items() if shard[0] != hour}
            self.final |= {hour}

    def write_rejects(self, write: Callable[[str, bytes], Any]) -> None:
        """Moves the rejects from the ledger to files.

        A file is named after its first row: if the process is killed before the deletion, the next run replaces it.

        Args:
          write: takes the name of a file without suffix, and its lines.
        """
        with self._writing_rejects:
            while rows := self._next_rejects():
                name = hashlib.blake2b(b"%d %b" % rows[0], digest_size=16).hexdigest()
                write(name, b"".join(lines for _, lines in rows))
                with self.database.transaction():
                    self.database.run("DELETE FROM rejects WHERE number <= ?", rows[-1][0])

    def _next_rejects(self) -> list[tuple[int, bytes]]:
        query = "SELECT number, SUM(LENGTH(lines)) OVER (ORDER BY number) - LENGTH(lines) FROM rejects"
        last = max((number for number, before in self.database.run(query) if before <= _REJECTS_BYTES), default=0)
        return self.database.run("SELECT number, lines FROM rejects WHERE number <= ? ORDER BY number", last)

    def tally(self) -> Counter[str]:
        """Returns the records read, rejected, late and duplicate, and those counted in final hours."""
        counted = sum(sum(_numbers(row)) for (row,) in self.database.run("SELECT counts FROM hours WHERE final = 1"))
        return Counter({**dict(self.database.run("SELECT name, records FROM tally")), "counted": counted})

    def earlier_sets(self) -> Iterator[tuple[HourShard, bytes]]:
        """Yields the sets of earlier runs, one per shard; other threads may add sets meanwhile."""
        for number in self.database.run("SELECT number FROM sets WHERE number <= ?", self._last_set):
            for *shard, packed in self.database.run("SELECT hour, shard, packed FROM sets WHERE number = ?", *number):
                yield tuple(shard), packed


def _add_row(counts: dict[int, HourCounts], hour: int, row: HourCounts) -> None:
    counts[hour] = add_counts([counts[hour], row]) if hour in counts else row


def _numbers(row: str) -> HourCounts:
    return tuple(map(int, row.split()))


_ledgers: dict[str, Ledger] = {}


def ledger_of(folder: str) -> Ledger:
    """Returns this process's open ledger of a folder."""
    return _ledgers[folder]


@contextlib.contextmanager
def open_ledger(folder: str, settings: Mapping[str, str]) -> Iterator[Ledger]:
    """Opens or creates the ledger of a folder of reports.

    Args:
      folder: the stream's output.
      settings: options that must be equal in all runs.

    Raises:
      UsageError: the ledger was copied from another folder, or has other settings.
      OutputError: it cannot be opened.
    """
    try:
        ledger = _ledgers[folder] = Ledger(folder, settings)
    except sqlite3.Error as error:
        raise OutputError(f"{printable_path(os.path.join(folder, NAME))}: {error}") from None
    try:
        yield ledger
    finally:
        ledger.database.close()
        del _ledgers[folder]
