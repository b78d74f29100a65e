"""The report's table: counts per hour and event type, from batches to CSV text.

A table is a list of rows in ascending order of hours; a row is a dict with `hour` ("2021-04-02T18:00:00+01:00"), a
count for each event type, and, once scaled, `impressions_scaled` (Decimal).
"""

import decimal
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.errors import InputError, UsageError
from pipeline.model.events import Batch, batch_events
from pipeline.model.hours import HourClock
from pipeline.schema import EVENT_TYPES
from pipeline.storage.compression import check_suffix
from pipeline.storage.local import atomic_write

Row = dict[str, Any]
Table = list[Row]
HourCounts = tuple[int, ...]  # number of events of each type, in the order of EVENT_TYPES

_NO_COUNTS = (0,) * len(EVENT_TYPES)
DEFAULT_FACTOR = "0.1"
SCALED = "impressions_scaled"
COLUMNS = ("hour", *EVENT_TYPES)


class HourlyRow(NamedTuple):
    """A row of the report: the schema of HourlyRows."""

    hour: str
    impressions: int
    video_start: int
    video_25: int
    video_50: int
    video_75: int
    video_completed: int
    impressions_scaled: Decimal


MAX_HOURS = 200_000
"""Maximum number of hours in a report, 22 years: each costs 35 microseconds and 2 KB."""

_DENSE_KEYS = 24 * 366 * 20 * 6  # 20 years; up to here counting by index takes less than 10 MB
_DEFAULT = HourClock()


def parse_factor(text: str) -> Decimal:
    """Parses a plain decimal number such as "0.1", of up to 30 digits; raises UsageError for anything else."""
    if not re.fullmatch(r"\d{1,15}(\.\d{1,15})?", text, re.ASCII):
        raise UsageError(
            f"factor {text[:50]!r} is not a plain decimal number such as 0.1, of up to 15 digits on each side"
        )
    return Decimal(text)


Counts = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Distinct sorted keys, hour number x 6 + event code, and the number of events of each."""


def count_batch(batch: Batch, clock: HourClock = _DEFAULT) -> Counts:
    """Counts the events of a batch by hour and event type."""
    keys = clock.numbers(batch.timestamps)
    keys *= len(EVENT_TYPES)  # in place, as all below: twice as fast as a new array for each step
    keys += batch.codes
    first, last = (int(keys.min()), int(keys.max())) if len(keys) else (0, 0)
    if last - first > _DENSE_KEYS:
        return np.unique(keys, return_counts=True)
    keys -= first
    return _present(np.bincount(keys), first)


def merge_counts(parts: list[Counts]) -> Counts:
    """Adds up partial counts."""
    parts = [part for part in parts if len(part[0])]
    first, last = min((int(p[0][0]) for p in parts), default=0), max((int(p[0][-1]) for p in parts), default=-1)
    if last - first <= _DENSE_KEYS:  # a tenth of the time
        dense = np.zeros(last - first + 1, np.int64)
        for keys, counts in parts:
            dense[keys - first] += counts
        return _present(dense, first)
    keys, counts = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-(10**9)))
    return keys[order][starts], np.add.reduceat(counts[order], starts)


def _present(dense: npt.NDArray[np.int64], first: int) -> Counts:
    """Returns the nonzero counts of consecutive keys, starting at first."""
    present = np.flatnonzero(dense)
    return present + first, dense[present]


def check_hours(hours: int) -> None:
    """Raises InputError if a report would have more than MAX_HOURS."""
    if hours > MAX_HOURS:
        raise InputError(f"the events fall into more than {MAX_HOURS} different hours, the limit for a report")


def count_hours(counts: Counts) -> int:
    """Returns the number of distinct hours."""
    hours = counts[0] // len(EVENT_TYPES)
    return int(np.count_nonzero(np.diff(hours, prepend=-(10**9))))


def split_hours(counts: Counts, clock: HourClock = _DEFAULT) -> Iterator[tuple[int, HourCounts]]:
    """Yields the counts of each hour with its start (Unix seconds, UTC), ascending."""
    hours, events = np.divmod(counts[0], len(EVENT_TYPES))
    starts = np.flatnonzero(np.diff(hours, prepend=-(10**9)))
    dense = np.zeros((len(starts), len(EVENT_TYPES)), np.int64)
    dense[np.cumsum(np.diff(hours, prepend=hours[:1]) != 0), events] = counts[1]
    yield from zip(clock.starts(hours[starts]).tolist(), map(tuple, dense.tolist()), strict=True)


def add_counts(parts: Iterable[HourCounts]) -> HourCounts:
    """Adds up partial counts of an hour."""
    return tuple(map(sum, zip(_NO_COUNTS, *parts, strict=True)))


def pivot(counts: Iterable[tuple[int, HourCounts]], clock: HourClock = _DEFAULT) -> Table:
    """Returns the counts of distinct hours, given by their starts, as a table."""
    return [{"hour": clock.label(hour), **dict(zip(EVENT_TYPES, row, strict=True))} for hour, row in sorted(counts)]


def count_table(table: Table) -> int:
    """Returns the number of events that a table counts."""
    return sum(row[event] for row in table for event in EVENT_TYPES)


def scale_impressions(table: Table, factor: str | Decimal | float = DEFAULT_FACTOR) -> Table:
    """Adds the column impressions_scaled = impressions x factor, in exact decimal arithmetic.

    factor: a float stands for its decimal representation: 0.1 is 1/10. Raises UsageError if it is not a plain decimal.
    """
    exact = decimal.Context(prec=100)
    scale = parse_factor(str(factor))
    return [{**row, SCALED: exact.multiply(Decimal(row["impressions"]), scale)} for row in table]


def csv_text(table: Table) -> str:
    """Formats a table as CSV, always with a header, with LF line ends."""
    names = (*COLUMNS, SCALED) if not table or SCALED in table[0] else COLUMNS
    lines = [",".join(names)]
    lines.extend(",".join(_cell(row[name]) for name in names) for row in table)
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def hourly_table(events: Iterable[Any], utc_offset: str | None = None, time_zone: str | None = None) -> Table:
    """Counts events (dicts with id, event, timestamp); EventError names the first invalid one.

    utc_offset, time_zone: as for HourClock.parse. Raises InputError for more than MAX_HOURS.
    """
    clock = HourClock.parse(utc_offset, time_zone)
    counts = count_batch(batch_events(events), clock)
    check_hours(count_hours(counts))
    return pivot(split_hours(counts, clock), clock)


def write_csv(table: Table, path: str) -> None:
    """Writes a table to a local .csv, .csv.gz or .csv.zst file, atomically replacing an earlier one.

    Raises:
      OSError: it cannot be written.
      UsageError: the suffix is that of another format.
    """
    check_suffix(path, "CSV")
    with atomic_write(path) as stream:
        stream.write(csv_text(table).encode())
