"""Parses UTC offsets and time zone names, with suggestions for invalid ones.

Uses package tzdata, not the time zones of the machine, so that all workers agree.
"""

import datetime
import difflib
import functools
import importlib.resources
import re
import zoneinfo

from pipeline.errors import UsageError, ZoneError

DEFAULT_UTC_OFFSET = "+01:00"

_MAX_SECONDS = 18 * 3600
_LOOSE_OFFSET = re.compile(r"(?:utc|gmt|z)? ?([-+\N{MINUS SIGN}]?) ?(\d{1,2})(?::?([0-5]\d))?|z", re.I | re.A)
_INVERTED = re.compile(r"Etc/GMT([+-]\d+)")
_ABBREVIATION = 4  # maximum length: CEST resembles EST, seven hours away


def parse_utc_offset(text: str) -> int:
    """Parses an offset such as "+01:00" to seconds east of UTC.

    Raises:
      UsageError: it has another form, or exceeds 18 hours. ZoneError if another value is suggested.
    """
    match = re.fullmatch(r"([+-])(\d\d):([0-5]\d)", text, re.ASCII)
    seconds = int(match[2]) * 3600 + int(match[3]) * 60 if match else 0
    if not match or seconds > _MAX_SECONDS:
        problem = f"UTC offset {text[:50]!r} is not of the form +01:00, up to 18:00"
        if text in zone_names() and not _INVERTED.fullmatch(text):
            raise ZoneError(problem, "time_zone", text)
        raise _with_offset(problem, text)
    return -seconds if match[1] == "-" else seconds


def check_time_zone(name: str) -> None:
    """Raises UsageError if a name is not in the IANA database; ZoneError if another value is suggested."""
    if name not in zone_names():
        raise _with_offset(_unknown(name), name)


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
    seconds = int(match[2] or 0) * 3600 + int(match[3] or 0) * 60 if match else _MAX_SECONDS + 1
    if not match or seconds > _MAX_SECONDS:
        return UsageError(problem)
    return ZoneError(problem, "utc_offset", offset_text(seconds if match[1] in ("", "+", None) else -seconds))


def _unknown(name: str) -> str:
    problem = f"unknown time zone {name[:50]!r}"
    if _LOOSE_OFFSET.fullmatch(name.strip()):
        return problem
    # Never suggest Etc/GMT+1: it is UTC-01:00, the opposite of what GMT+1 means elsewhere.
    zones = sorted(zone for zone in zone_names() if not re.search(r"Etc/|GMT.?0", zone))
    known = {alias.lower(): zone for zone in zones for alias in (zone.rsplit("/")[-1], zone)}
    cutoff = 1.0 if len(name) <= _ABBREVIATION else 0.7
    close = difflib.get_close_matches(name.lower()[:50], known, 1, cutoff)
    return problem + (
        f"; did you mean {known[close[0]]}?" if close else "; use a name of the IANA database such as Europe/Paris"
    )
