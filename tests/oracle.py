"""What is right, in plain slow Python: the tests' second opinion. It imports nothing of the product."""

import json
import math
import re
import zoneinfo
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

EVENTS = ("impressions", "video_start", "video_25", "video_50", "video_75", "video_completed")
END_OF_TIME = 253402297200
MAX_DEPTH = 200
SPACE = b" \t\r\n"
BOM = b"\xef\xbb\xbf"

zoneinfo.reset_tzpath([])  # the rules are those of package tzdata, not of this machine

Event = tuple[str, str, int]
Zone = int | str  # minutes east of UTC, or a time zone's name


class Position(NamedTuple):
    """Where a reject is. index: None in JSON Lines."""

    offset: int
    index: int | None


class Document(NamedTuple):
    """A whole source: its events and the places of its rejects, in order."""

    events: list[Event]
    rejects: list[Position]


class NotJsonError(Exception):
    """Not one strict JSON value."""


class BrokenError(Exception):
    """A source that is an error as a whole."""


class Members(list[tuple[str, Any]]):
    """The members of a JSON object, with names that stand twice."""


def _constant(name: str) -> Any:
    raise NotJsonError(name)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < 4000 else math.copysign(math.inf, -1 if digits[0] == "-" else 1)


_DECODER = json.JSONDecoder(object_pairs_hook=Members, parse_constant=_constant, parse_int=_integer)


def depth(text: str) -> int:
    """The deepest level of nesting, by brackets outside of strings."""
    level = deepest = 0
    inside = escaped = False
    for char in text:
        if escaped:
            escaped = False
        elif inside:
            escaped, inside = char == "\\", char != '"'
        elif char == '"':
            inside = True
        elif char in "[{":
            level += 1
            deepest = max(deepest, level)
        elif char in "]}":
            level -= 1
    return deepest


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Members):
        for name, member in value:
            yield name
            yield from _strings(member)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _refuse_surrogates(value: Any) -> None:
    if any("\ud800" <= char <= "\udfff" for text in _strings(value) for char in text):
        raise NotJsonError("a lone surrogate")


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise NotJsonError(str(error)) from None


def parse(record: bytes) -> Any:
    """One JSON value; objects as Members. Raises NotJsonError."""
    text = _text(record)
    if depth(text) > MAX_DEPTH:
        raise NotJsonError("too deep")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise NotJsonError(str(error)) from None
    _refuse_surrogates(value)
    return value


def as_event(value: Any) -> Event | None:
    """The event in a parsed value, or None."""
    if not isinstance(value, Members):
        return None
    record = dict(value)
    if sum(name in ("id", "event", "timestamp") for name, _ in value) != 3:
        return None
    identity, event, timestamp = (record.get(name) for name in ("id", "event", "timestamp"))
    if type(identity) is not str or identity == "" or type(event) is not str or event not in EVENTS:
        return None
    if type(timestamp) is not int or not 0 <= timestamp < END_OF_TIME:
        return None
    return identity, event, timestamp


def read(data: bytes) -> Document:
    """A source of any shape. Raises BrokenError."""
    start = len(BOM) if data.startswith(BOM) else 0
    opening = re.compile(rb'[ \t\r\n]*(?:\[|\{[ \t\r\n]*"mock_for_test"[ \t\r\n]*:[ \t\r\n]*\[)').match(data, start)
    if not opening:
        return read_lines(data, start)
    after = rb"\][ \t\r\n]*" if b"{" not in opening.group() else rb"\][ \t\r\n]*\}[ \t\r\n]*"
    return read_elements(data, opening.end(), after)


def read_lines(data: bytes, start: int = 0) -> Document:
    """JSON Lines from an offset on."""
    events, rejects = [], []
    for line in data[start:].split(b"\n"):
        record = line.strip(SPACE)
        if record:
            try:
                event = as_event(parse(record))
            except NotJsonError:
                event = None
            if event:
                events.append(event)
            else:
                rejects.append(Position(start + len(line) - len(line.lstrip(SPACE)), None))
        start += len(line) + 1
    return Document(events, rejects)


def read_elements(data: bytes, start: int = 0, after: bytes = b"") -> Document:
    """The elements of an array from an offset on (behind its bracket), and a pattern for all that follows them."""
    try:
        text = _text(data[start:])
    except NotJsonError as error:
        raise BrokenError(str(error)) from None
    closing = re.compile(after.decode() + r"\Z")
    events: list[Event] = []
    rejects: list[Position] = []
    at = _skip(text, 0)
    if closing.match(text, at):
        return Document(events, rejects)
    if depth(text) > MAX_DEPTH:
        raise BrokenError("too deep")
    for index in range(len(text) + 1):
        try:
            value, end = _DECODER.raw_decode(text, at)
            _refuse_surrogates(value)
        except (json.JSONDecodeError, NotJsonError) as error:
            raise BrokenError(str(error)) from None
        event = as_event(value)
        if event:
            events.append(event)
        else:
            rejects.append(Position(start + len(text[:at].encode()), index))
        at = _skip(text, end)
        if closing.match(text, at):
            break
        if text[at : at + 1] != ",":
            raise BrokenError(f"no comma at {at}")
        at = _skip(text, at + 1)
    return Document(events, rejects)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def hour(timestamp: int, zone: Zone = 60) -> str:
    """The label of a timestamp's hour in local time, with the offset of that moment; for years up to 9999."""
    clock = timezone(timedelta(minutes=zone)) if isinstance(zone, int) else zoneinfo.ZoneInfo(zone)
    local = (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=timestamp)).astimezone(clock)
    return f"{local.isoformat()[:13]}:00:00{local.isoformat()[19:]}"


def report(events: Iterable[Event], zone: Zone = 60, factor: str = "0.1") -> str:
    """The report's text."""
    counts: dict[str, Counter[str]] = {}
    for _, event, timestamp in sorted(events, key=lambda item: item[2]):
        counts.setdefault(hour(timestamp, zone), Counter())[event] += 1
    lines = ["hour," + ",".join(EVENTS) + ",impressions_scaled"]
    for label in counts:
        row = counts[label]
        scaled = Decimal(row["impressions"]) * Decimal(factor)
        lines.append(",".join([label, *(str(row[event]) for event in EVENTS), format(scaled, "f")]))
    return "\n".join(lines) + "\n"


def unique_ids(events: Iterable[Event]) -> set[str]:
    """The different ids."""
    return {identity for identity, _, _ in events}


def report_of(*sources: bytes) -> str:
    """The report of whole sources."""
    return report(event for source in sources for event in read(source).events)


def ids_of(*sources: bytes) -> set[str]:
    """The different ids of whole sources."""
    return unique_ids(event for source in sources for event in read(source).events)


def id_line(identity: str) -> str:
    """An id as a line of the ids file."""
    quoted = identity[0] == '"' or "\n" in identity or "\r" in identity
    return (json.dumps(identity) if quoted else identity) + "\n"


def ids_of_lines(data: bytes) -> list[str]:
    """An ids file read back."""
    lines = data.decode().split("\n")
    assert lines.pop() == ""
    return [json.loads(line) if line.startswith('"') else line for line in lines]


def without_duplicates(events: Iterable[Event]) -> list[Event]:
    """The different events."""
    return list(dict.fromkeys(events))
