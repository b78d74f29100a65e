"""Hours of local clocks: at a fixed offset from UTC, or in a time zone with daylight saving time.

The offsets of a zone differ by whole hours (other zones are refused), so its hours always begin at the same minute of a
UTC hour; only their labels change.
"""

import datetime
import functools
import time
import zoneinfo
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import UsageError, ZoneError
from pipeline.model.zones import DEFAULT_UTC_OFFSET, check_time_zone, offset_text, parse_utc_offset, tzinfo_of

HOUR = 3600

_Seconds = npt.NDArray[np.int64]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_DAY = 86400
_CYCLE = 146097 * _DAY  # 400 years, after which the calendar and all rules of daylight saving time repeat
_LATE = 17 * _CYCLE // 4  # the year 3670: datetime ends with 9999, and some offsets lead to 10000
_RULED = 43099 * _DAY  # the year 2088: up to here tzdata lists single transitions, from here on it has yearly rules
_NEVER = 100_000 * 366 * _DAY  # Beam's time ends in 294247
_END = 20 * _CYCLE + 31 * _CYCLE // 400  # after the last timestamp


class HourClock:
    """Assigns timestamps to local hours, and labels these.

    An hour is identified by its start in Unix seconds, or by its number: consecutive hours have consecutive numbers.
    Where clocks change within an hour (in Newfoundland at one minute past midnight), the change begins another hour.

    Attributes:
      zone: an offset such as "+01:00", or a name such as "Europe/Paris".
      phase: seconds past a full hour of UTC at which hours end.
    """

    def __init__(self, zone: str = DEFAULT_UTC_OFFSET) -> None:
        tz = tzinfo_of(zone)
        self.zone = zone
        self.phase, self._cuts = _shape(zone) if isinstance(tz, zoneinfo.ZoneInfo) else (_offset(tz, 0) % HOUR, None)

    @classmethod
    def parse(cls, utc_offset: str | None = None, time_zone: str | None = None) -> "HourClock":
        """Returns the clock of a fixed offset or a time zone, by default of +01:00.

        Args:
          utc_offset: such as "+01:00", up to 18 hours.
          time_zone: a name of the IANA database, such as "Europe/Paris".

        Raises:
          UsageError: both are given, the offset is malformed, or the zone is unknown or has offsets since 1970 that
            are not whole hours apart. ZoneError if another value is suggested.
        """
        if time_zone is None:
            text = DEFAULT_UTC_OFFSET if utc_offset is None else utc_offset
            parse_utc_offset(text)
            return cls(text)
        if utc_offset is not None:
            raise UsageError("utc_offset and time_zone are mutually exclusive")
        check_time_zone(time_zone)
        return cls(time_zone)

    def __reduce__(self) -> tuple[type["HourClock"], tuple[str]]:
        return HourClock, (self.zone,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HourClock) and self.zone == other.zone

    def __hash__(self) -> int:
        return hash(self.zone)

    def __repr__(self) -> str:
        return f"HourClock({self.zone!r})"

    def numbers(self, timestamps: _Seconds) -> _Seconds:
        """Returns the number of the hour of each timestamp."""
        numbers = timestamps + self.phase
        numbers //= HOUR
        if self._cuts is not None:
            numbers += np.searchsorted(self._cuts, timestamps, "right")
        return numbers

    def starts(self, numbers: _Seconds) -> _Seconds:
        """Returns the start of each hour (Unix seconds)."""
        if self._cuts is None:
            return numbers * HOUR - self.phase
        before = np.searchsorted(self.numbers(self._cuts), numbers, "right")
        last_cut = np.append(self._cuts, -_CYCLE)[before - 1]
        return np.asarray(np.maximum((numbers - before) * HOUR - self.phase, last_cut), np.int64)

    def ends(self, timestamps: _Seconds) -> _Seconds:
        """Returns the end of each timestamp's window: the next full hour, even if clocks change before."""
        return ((timestamps + self.phase) // HOUR + 1) * HOUR - self.phase

    def label(self, start: int) -> str:
        """Returns an hour's local start with its offset, ISO 8601: "2021-10-31T02:00:00+01:00"."""
        return _label(self.zone, start)


def closing_time(ends: Any, allowed_lateness: int) -> Any:
    """Returns when hours close, in Unix seconds: later events are late, and state is released.

    Args:
      ends: of the hours, a number or an array.
      allowed_lateness: in seconds.
    """
    return np.minimum(ends + allowed_lateness, _NEVER)


@functools.lru_cache(1 << 16)
def _label(zone: str, start: int) -> str:
    back = _CYCLE if start > _LATE else 0
    local = (_EPOCH + datetime.timedelta(seconds=start - back)).astimezone(tzinfo_of(zone))
    return f"{local.year + back // _CYCLE * 400:04d}-{local:%m-%dT%H}:00:00{local.isoformat()[-6:]}"


@functools.lru_cache(64)
def _shape(zone: str) -> tuple[int, _Seconds | None]:
    """Returns a zone's phase and its transitions that are not at full hours; raises ZoneError if phases differ."""
    tz = tzinfo_of(zone)
    changes = list(_changes(tz, -HOUR, _RULED))
    offsets = {_offset(tz, 0), *(_offset(tz, change) for change in changes if change > 0)}
    phases = {offset % HOUR for offset in offsets}
    if len(phases) > 1:
        found = ", ".join(offset_text(offset) for offset in sorted(offsets))
        today = offset_text(_offset(tz, int(time.time())))
        problem = f"time zone {zone}: its offsets since 1970 differ by less than whole hours ({found}), today {today}"
        raise ZoneError(problem, "utc_offset", today)
    (phase,) = phases
    cuts = [change for change in changes if (change + phase) % HOUR]
    if cuts and cuts[-1] > _RULED - 366 * _DAY:  # the yearly rule has such transitions
        cycle = [*_changes(tz, _RULED, _RULED + _CYCLE)]
        cuts += [change + back for back in range(0, _END - _RULED, _CYCLE) for change in cycle]
    return phase, np.array(cuts, np.int64) if cuts else None


def _changes(tz: datetime.tzinfo, start: int, stop: int) -> Iterator[int]:
    """Yields the transitions of a zone. Checks one moment a day: no zone reverted a change sooner."""
    before = _offset(tz, start)
    for high in range(start + _DAY, stop + _DAY, _DAY):
        after = _offset(tz, high)
        if after != before:
            yield _bisect(tz, high - _DAY, high)
        before = after


def _bisect(tz: datetime.tzinfo, low: int, high: int) -> int:
    """Returns the first second with the offset of high instead of that of low."""
    after = _offset(tz, high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _offset(tz, middle) == after else (middle, high)
    return high


def _offset(tz: datetime.tzinfo, moment: int) -> int:
    offset = datetime.datetime.fromtimestamp(moment, tz).utcoffset()
    return offset.days * _DAY + offset.seconds if offset is not None else 0
