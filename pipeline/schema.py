"""The schema of an event, and the reasons for which a record is rejected."""

import numbers
import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.errors import EventError

EVENT_TYPES = ("impressions", "video_start", "video_25", "video_50", "video_75", "video_completed")
"""The event types, in the order of the report's columns."""

EVENT_CODES = {name: code for code, name in enumerate(EVENT_TYPES)}
"""Index of each event type in EVENT_TYPES."""

FIELDS = ("id", "event", "timestamp")
"""The fields of an event; others are ignored."""

MAX_TIMESTAMP = 253402297200
"""Timestamps are whole Unix seconds (UTC), 0 <= t < this: the end of the year 9999 at +01:00."""

RAW_BYTES = 1024
"""Maximum number of bytes of a rejected record that are kept."""


class Event(NamedTuple):
    """One valid event. event: index into EVENT_TYPES; timestamp: Unix seconds, UTC."""

    id: str
    event: int
    timestamp: int


def check_event(record: Any) -> Event:
    """Returns the event of a decoded JSON value; raises EventError with the reason if it is invalid."""
    if not isinstance(record, Mapping):
        raise EventError(f"not an object but {_kind(record)}")
    missing = [field for field in FIELDS if field not in record]
    if missing:
        raise EventError(f"missing {_listed(missing)}{_other_case(record, missing)}")
    return Event(_id(record["id"]), _code(record["event"]), _timestamp(record["timestamp"]))


def _listed(names: list[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _other_case(record: Mapping[Any, Any], missing: list[str]) -> str:
    found = next((name for name in record if isinstance(name, str) and name.lower() in missing), None)
    return f" (names are lower case: {found.lower()}, not {found})" if found else ""


def _id(value: Any) -> str:
    if not isinstance(value, str):
        raise EventError(f"id must be a string, not {_kind(value)}")
    if not value:
        raise EventError("id must not be empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise EventError("id has a lone surrogate") from None
    return value


def _code(value: Any) -> int:
    if not isinstance(value, str):
        raise EventError(f"event must be a string, not {_kind(value)}")
    if value not in EVENT_CODES:
        raise EventError(f"unknown event {_shortened(value)}, must be one of {', '.join(EVENT_TYPES)}")
    return EVENT_CODES[value]


def _timestamp(value: Any) -> int:
    # numpy 2.2, the last for Python 3.10, still accepts its booleans as an index.
    whole: Any = None if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_") else value
    try:
        seconds = operator.index(whole)  # numpy integers are not int
    except TypeError:
        raise EventError(f"timestamp must be whole Unix seconds, not {_kind(value)}") from None
    if seconds < 0:
        raise EventError("timestamp must not be negative")
    if seconds >= MAX_TIMESTAMP:
        if 10**12 <= seconds < 10**13:
            raise EventError(f"timestamp {seconds} looks like milliseconds; must be seconds")
        raise EventError(f"timestamp must be below {MAX_TIMESTAMP} seconds")
    return seconds


def _shortened(value: str) -> str:
    text = value if len(value) <= 40 else value[:40] + "..."
    return ascii(text)


_KINDS: tuple[tuple[type, str], ...] = (
    (str, "a string"),
    (bool, "a boolean"),
    (numbers.Integral, "a number"),
    (numbers.Real, "a number with a fraction or exponent"),
    (type(None), "null"),
    (list, "an array"),
    (Mapping, "an object"),
)


def _kind(value: Any) -> str:
    """Returns the JSON name of a value's type."""
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "another type")
