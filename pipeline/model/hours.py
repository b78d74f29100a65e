"""UTC offsets and time zones, parsed with suggestions for invalid ones, and the hours of local clocks in them.

Time zones are those of package tzdata, not of the machine, so that all workers agree. The offsets of a zone differ by
whole hours (other zones are refused), so its hours always begin at the same minute of a UTC hour; only their labels
change.
"""

import datetime
import difflib
import functools
import importlib.resources
import re
import time
import zoneinfo
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import UsageError, ZoneError

HOUR = 3600

DEFAULT_UTC_OFFSET = "+01:00"

_Seconds = npt.NDArray[np.int64]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_DAY = 86400
_CYCLE = 146097 * _DAY  # 400 years, after which the calendar and all rules of daylight saving time repeat
_LATE = 17 * _CYCLE // 4  # the year 3670: datetime ends with 9999, and some offsets lead to 10000
_RULED = 43099 * _DAY  # the year 2088: up to here tzdata lists single transitions, from here on it has yearly rules
_NEVER = 100_000 * 366 * _DAY  # Beam's time ends in 294247
_END = 20 * _CYCLE + 31 * _CYCLE // 400  # after the last timestamp
_MAX_OFFSET = 18 * 3600  # seconds
_LOOSE_OFFSET = re.compile(r"(?:utc|gmt|z)? ?([-+\N{MINUS SIGN}]?) ?(\d{1,2})(?::?([0-5]\d))?|z", re.I | re.A)
_INVERTED = re.compile(r"Etc/GMT([+-]\d+)")
_MAX_ABBREVIATION = 4  # letters: CEST resembles EST, seven hours away


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


def parse_utc_offset(text: str) -> int:
    """Parses an offset such as "+01:00" to seconds east of UTC.

    Raises:
      UsageError: it has another form, or exceeds 18 hours. ZoneError if another value is suggested.
    """
    match = re.fullmatch(r"([+-])(\d\d):([0-5]\d)", text, re.ASCII)
    seconds = int(match[2]) * 3600 + int(match[3]) * 60 if match else 0
    if not match or seconds > _MAX_OFFSET:
        problem = f"UTC offset {text[:50]!r} is not of the form +01:00, up to 18:00"
        if text in zone_names() and not _INVERTED.fullmatch(text):
            raise ZoneError(problem, "time_zone", text)
        raise _with_offset(problem, text)
    return -seconds if match[1] == "-" else seconds


def check_time_zone(name: str) -> None:
    """Raises UsageError if a name is not in the IANA database; ZoneError if another value is suggested."""
    if name not in zone_names():
        raise _with_offset(_unknown_zone(name), name)


def inverted_zone_warning(name: str | None) -> str | None:
    """Returns a warning that states the offset of an Etc/GMT zone, whose sign is inverted; None for other zones."""
    match = _INVERTED.fullmatch(name or "")
    return (
        f"time zone {name} has the UTC offset {offset_text(-int(match[1]) * 3600)}: its sign is inverted"
        if match
        else None
    )


def offset_text(offset: int) -> str:
    """Returns an offset in seconds as "+05:30"."""
    return datetime.datetime(2000, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(seconds=offset))).isoformat()[19:]


@functools.lru_cache(64)
def tzinfo_of(zone: str) -> datetime.tzinfo:
    """Returns the tzinfo of an offset such as "+01:00" or of a zone of zone_names()."""
    if zone[:1] in ("+", "-"):
        return datetime.timezone(datetime.timedelta(seconds=parse_utc_offset(zone)))
    with importlib.resources.files("tzdata").joinpath("zoneinfo", *zone.split("/")).open("rb") as file:
        return zoneinfo.ZoneInfo.from_file(file, key=zone)


@functools.cache
def zone_names() -> frozenset[str]:
    """Returns the names of all time zones."""
    return frozenset(importlib.resources.files("tzdata").joinpath("zones").read_text("ascii").split())


def _with_offset(problem: str, text: str) -> UsageError:
    """Returns an error that suggests the UTC offset that a text such as "GMT+1" or "+0100" means, if any."""
    match = _LOOSE_OFFSET.fullmatch(text.strip())
    seconds = int(match[2] or 0) * 3600 + int(match[3] or 0) * 60 if match else _MAX_OFFSET + 1
    if not match or seconds > _MAX_OFFSET:
        return UsageError(problem)
    return ZoneError(problem, "utc_offset", offset_text(seconds if match[1] in ("", "+", None) else -seconds))


def _unknown_zone(name: str) -> str:
    problem = f"unknown time zone {name[:50]!r}"
    if _LOOSE_OFFSET.fullmatch(name.strip()):
        return problem
    # Never suggest Etc/GMT+1: it is UTC-01:00, the opposite of what GMT+1 means elsewhere.
    zones = sorted(zone for zone in zone_names() if not re.search(r"Etc/|GMT.?0", zone))
    known = {alias.lower(): zone for zone in zones for alias in (zone.rsplit("/")[-1], zone)}
    cutoff = 1.0 if len(name) <= _MAX_ABBREVIATION else 0.7
    close = difflib.get_close_matches(name.lower()[:50], known, 1, cutoff)
    return problem + (
        f"; did you mean {known[close[0]]}?" if close else "; use a name of the IANA database such as Europe/Paris"
    )
