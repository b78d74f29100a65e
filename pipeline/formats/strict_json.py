"""A strict JSON decoder (RFC 8259): bytes to one value, or the reason why they are invalid."""

import json
import re
from typing import Any

from pipeline.errors import EventError
from pipeline.schema import FIELDS

WHITE_SPACE = b" \t\r\n"
"""White space of RFC 8259."""

MAX_DEPTH = 200
"""Maximum nesting of a record, far below the recursion limit of Python's decoder in any thread."""

TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)
"""A string (possibly truncated), a bracket or a comma."""


class NotJsonError(ValueError):
    """The bytes are not one strict JSON value; the message is the reason."""


def parse(raw: bytes) -> Any:
    """Decodes one JSON value, strictly by RFC 8259: no NaN, no lone surrogate, no invalid UTF-8.

    Integers beyond 64 bits become +-2**64, numbers with a fraction or exponent float.

    Raises:
      NotJsonError: it is not JSON, or nested deeper than MAX_DEPTH.
      EventError: it is an object with a field of events as a duplicate key.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotJsonError(f"invalid UTF-8 at byte {error.start} of the record") from None
    if _too_deep(text):
        raise NotJsonError(f"nested deeper than {MAX_DEPTH} levels")
    try:
        value = _MEMBERS.decode(text)
    except json.JSONDecodeError as error:
        raise NotJsonError(_reason(error)) from None
    if _SURROGATE.search(text):
        _refuse_surrogates(_PAIRS.decode(text))
    if isinstance(value, _DuplicateField):
        raise EventError(f"duplicate key {value.name!r}")
    return value


def _reason(error: json.JSONDecodeError) -> str:
    """Returns the reason and position; a record that continues on the next line is reported as truncated."""
    if error.doc[error.pos : error.pos + 1] == "\0":
        return f"NUL bytes, as in an incompletely written file, at character {error.pos} of the record"
    if 0 < len(error.doc.rstrip()) <= error.pos or error.msg.startswith("Unterminated string"):
        return f"truncated at character {len(error.doc)} of the record"
    return f"{error.msg} at character {error.pos} of the record"


def _too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for token in TOKEN.finditer(text.encode()):
        mark = token.group()
        depth += 1 if mark in b"[{" else -1 if mark in b"]}" else 0
        if depth > MAX_DEPTH:
            return True
    return False


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _refuse_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise NotJsonError("a lone surrogate in a string") from None


class _DuplicateField(dict[str, Any]):
    """An object with a field of events as a duplicate key, which is invalid only at the top level."""

    name: str


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        for field in FIELDS:
            if names.count(field) > 1:
                members = _DuplicateField(members)
                members.name = field
    return members


def _constant(name: str) -> Any:
    raise NotJsonError(name + " is not JSON")


def _integer(digits: str) -> int:
    """Parses an integer; +-2**64 if it exceeds 64 bits, since Python refuses to convert more than 4,300 digits."""
    if len(digits) > 20:
        return -(2**64) if digits[0] == "-" else 2**64
    return int(digits)


_MEMBERS = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_constant, parse_int=_integer)
_PAIRS = json.JSONDecoder(object_pairs_hook=list, parse_int=_integer)  # keeps the values of duplicate keys
