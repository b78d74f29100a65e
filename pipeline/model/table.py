"""The report's table: counts per hour and event type, as plain functions from batches to CSV text.

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
HourCounts = tuple[int, ...]  # how many events of each type, in the order of EVENT_TYPES

_NO_COUNTS = (0,) * len(EVENT_TYPES)
DEFAULT_FACTOR = "0.1"
SCALED = "impressions_scaled"
COLUMNS = ("hour", *EVENT_TYPES)


class HourlyRow(NamedTuple):
    """A row of the report, for Beam: its fields are the schema of HourlyRows."""

    hour: str
    impressions: int
    video_start: int
    video_25: int
    video_50: int
    video_75: int
    video_completed: int
    impressions_scaled: Decimal


MAX_HOURS = 200_000
"""Hours that a report may have, 22 years: each costs 35 microseconds and 2 KB, however small the input."""

_DENSE_KEYS = 24 * 366 * 20 * 6  # 20 years; up to here counting by index takes less than 10 MB
_DEFAULT = HourClock()


def parse_factor(text: str) -> Decimal:
    """A plain decimal number as "0.1", up to 30 digits; UsageError for anything else."""
    if not re.fullmatch(r"\d{1,15}(\.\d{1,15})?", text, re.ASCII):
        raise UsageError(
            f"factor {text[:50]!r} is not a plain decimal number such as 0.1, of up to 15 digits on each side"
        )
    return Decimal(text)


Counts = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Different keys in ascending order, hour number x 6 + event code, and how many events each has."""


def count_batch(batch: Batch, clock: HourClock = _DEFAULT) -> Counts:
    """A batch's partial counts by the clock's hours."""
    keys = clock.numbers(batch.timestamps)
    keys *= len(EVENT_TYPES)  # in place, as all below: with a new array for each step it takes twice as long
    keys += batch.codes
    first, last = (int(keys.min()), int(keys.max())) if len(keys) else (0, 0)
    if last - first > _DENSE_KEYS:
        return np.unique(keys, return_counts=True)
    keys -= first
    return _present(np.bincount(keys), first)


def merge_counts(parts: list[Counts]) -> Counts:
    """The sum of partial counts."""
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
    """The counts that are not 0 of keys in a row from first on."""
    present = np.flatnonzero(dense)
    return present + first, dense[present]


def check_hours(hours: int) -> None:
    """Raises InputError where a report would have too many."""
    if hours > MAX_HOURS:
        raise InputError(f"the events lie in more than {MAX_HOURS} different hours, the most that a report may have")


def count_hours(counts: Counts) -> int:
    """How many hours counts are of."""
    hours = counts[0] // len(EVENT_TYPES)
    return int(np.count_nonzero(np.diff(hours, prepend=-(10**9))))


def split_hours(counts: Counts, clock: HourClock = _DEFAULT) -> Iterator[tuple[int, HourCounts]]:
    """Counts by the start of their hour (Unix seconds, UTC), ascending."""
    hours, events = np.divmod(counts[0], len(EVENT_TYPES))
    starts = np.flatnonzero(np.diff(hours, prepend=-(10**9)))
    dense = np.zeros((len(starts), len(EVENT_TYPES)), np.int64)
    dense[np.cumsum(np.diff(hours, prepend=hours[:1]) != 0), events] = counts[1]
    yield from zip(clock.starts(hours[starts]).tolist(), map(tuple, dense.tolist()), strict=True)


def add_counts(parts: Iterable[HourCounts]) -> HourCounts:
    """The sum of an hour's partial counts."""
    return tuple(map(sum, zip(_NO_COUNTS, *parts, strict=True)))


def pivot(counts: Iterable[tuple[int, HourCounts]], clock: HourClock = _DEFAULT) -> Table:
    """The counts of hours (their starts, each once) as a table."""
    return [{"hour": clock.label(hour), **dict(zip(EVENT_TYPES, row, strict=True))} for hour, row in sorted(counts)]


def count_table(table: Table) -> int:
    """How many events a table counts."""
    return sum(row[event] for row in table for event in EVENT_TYPES)


def scale_impressions(table: Table, factor: str | Decimal | float = DEFAULT_FACTOR) -> Table:
    """The table with one more column, impressions x factor, in exact decimal arithmetic.

    factor: a float counts as the decimal number that it is written as: 0.1 is 1/10. UsageError: it is no such number.
    """
    exact = decimal.Context(prec=100)
    scale = parse_factor(str(factor))
    return [{**row, SCALED: exact.multiply(Decimal(row["impressions"]), scale)} for row in table]


def csv_text(table: Table) -> str:
    """A table as CSV: header always, LF line ends."""
    names = (*COLUMNS, SCALED) if not table or SCALED in table[0] else COLUMNS
    lines = [",".join(names)]
    lines.extend(",".join(_cell(row[name]) for name in names) for row in table)
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def hourly_table(events: Iterable[Any], utc_offset: str | None = None, time_zone: str | None = None) -> Table:
    """Events (dicts with id, event, timestamp) -> table of counts; EventError names the first that is not valid.

    utc_offset, time_zone: one of them, as HourClock.parse takes it. Raises InputError for more than MAX_HOURS.
    """
    clock = HourClock.parse(utc_offset, time_zone)
    counts = count_batch(batch_events(events), clock)
    check_hours(count_hours(counts))
    return pivot(split_hours(counts, clock), clock)


def write_csv(table: Table, path: str) -> None:
    """Writes a table as a .csv file on this machine: whole or not at all, over an earlier one.

    Names in .csv.gz and .csv.zst compress it.

    Raises:
      OSError: it cannot be written.
      UsageError: the name promises another format.
    """
    check_suffix(path, "CSV")
    with atomic_write(path) as stream:
        stream.write(csv_text(table).encode())
