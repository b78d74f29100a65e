"""Recognizes the names of fields and event types; compiled."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from pipeline.native.compiler import compiled
from pipeline.native.memory import load, store_byte
from pipeline.native.strings import QUOTE, string_end, unescape
from pipeline.schema import EVENT_TYPES, FIELDS

NAME_BYTES = 16
"""Maximum length of a name with its closing quote."""

TEXT_BYTES = 512
"""Size of the memory for an unescaped name or event type."""

assert TEXT_BYTES >= 6 * NAME_BYTES + 1

_SLOTS = 16  # of the table of event types
_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / the golden ratio, as in Knuth's multiplicative hashing
_TRIES = 4000  # enough for up to 12 names, in 0.1 s


def _row(number: int, name: str) -> Any:
    """Returns a name and its closing quote as two words, their masks, the length in bytes, the number."""
    quoted = name.encode() + b'"'
    if len(quoted) > NAME_BYTES:
        raise ValueError(f"{name}: compiled code takes names of up to {NAME_BYTES - 1} bytes")
    mask = b"\xff" * len(quoted)
    words = quoted.ljust(NAME_BYTES, b"\0") + mask.ljust(NAME_BYTES, b"\0")
    return [*np.frombuffer(words, "<u8"), np.uint64(len(quoted)), np.uint64(number)]


def _slots(words: Iterable[int], factor: int) -> list[int]:
    return [word * factor % 2**64 >> 60 for word in words]


def _factor(names: tuple[str, ...]) -> int | None:
    """Returns a factor that hashes the first words of names to distinct slots (perfect hashing), or None."""
    words = {int(_row(0, name)[0]) for name in names if len(name.encode()) >= 7}
    factors = (k * _GOLDEN % 2**64 for k in range(1, _TRIES))
    return next((factor for factor in factors if len(set(_slots(words, factor))) == len(names)), None)


_FACTOR = _factor(EVENT_TYPES)
_FIELD_ROWS = np.array([_row(number, name) for number, name in enumerate(FIELDS)], np.uint64)
_EVENT_ROWS = np.array([_row(number, name) for number, name in enumerate(EVENT_TYPES)], np.uint64)
_TABLE = np.full((_SLOTS, _EVENT_ROWS.shape[1]), 2**64 - 1, np.uint64)  # empty slots: number -1
if _FACTOR:
    _TABLE[_slots(map(int, _EVENT_ROWS[:, 0]), _FACTOR)] = _EVENT_ROWS
_HASH_FACTOR = np.uint64(_FACTOR or 0)
# Typed: for a literal, numba would compile the callee a second time.
_ZERO_INDEX = np.int64(0)


@compiled
def _differs(rows, k, low, high):
    return ((low ^ rows[k, 0]) & rows[k, 2]) | ((high ^ rows[k, 1]) & rows[k, 3])


@compiled
def field_at(d, i):
    """Returns (index of the name at i in FIELDS or -1, its length with the closing quote). Reads NAME_BYTES.

    Compares one by one: the branches are predictable, so that later code need not wait for a table lookup.
    """
    low, high = load(d, i), load(d, i + 8)
    for k in range(len(_FIELD_ROWS)):
        if not _differs(_FIELD_ROWS, k, low, high):
            return k, np.int64(_FIELD_ROWS[k, 4])
    return np.int64(-1), _ZERO_INDEX


@compiled
def _event_in_table(d, i):
    """field_at for EVENT_TYPES, by a table: branches would be unpredictable."""
    low, high = load(d, i), load(d, i + 8)
    slot = (low * _HASH_FACTOR) >> np.uint64(60)
    if _differs(_TABLE, slot, low, high):
        return np.int64(-1), _ZERO_INDEX
    return np.int64(_TABLE[slot, 5]), np.int64(_TABLE[slot, 4])


@compiled
def _event_by_comparing(d, i):
    """field_at for EVENT_TYPES without a perfect hash."""
    low, high = load(d, i), load(d, i + 8)
    for k in range(len(_EVENT_ROWS)):
        if not _differs(_EVENT_ROWS, k, low, high):
            return k, np.int64(_EVENT_ROWS[k, 4])
    return np.int64(-1), _ZERO_INDEX


event_at = _event_in_table if _FACTOR else _event_by_comparing


@compiled
def match_string(d, i, end, find, text):
    """Returns (number of the string at i by `find` or -1, index after it or -1)."""
    in_place = i + NAME_BYTES <= end
    if in_place:
        k, length = find(d, i)
        if k >= 0:
            return k, i + length
    k = np.int64(-1)
    stop, escaped = string_end(d, i, end)
    if stop > 0 and (escaped or not in_place) and stop - i < TEXT_BYTES:
        size = unescape(d, i, stop, text, _ZERO_INDEX)
        store_byte(text, size, QUOTE)
        k, length = find(text, _ZERO_INDEX)
        k = k if length == size + 1 else np.int64(-1)  # a quote may be part of the name
    return k, stop + 1 if stop > 0 else stop
