"""Caches the text between values of records: each gap is parsed once, then recognized by its bytes; compiled.

A gap is the text before a scalar value or the end of a record: brackets, commas, names, colons, white space. Programs
repeat the same gaps in nearly the same order. So each gap is cached with its bytes and two of its successors: most gaps
are found by one comparison of up to LANES bytes, most others in a hash table. Values are always parsed. Skipping a
member takes 4 to 9 ns instead of 16.

gaps: address of GAPS_BYTES of memory. gap: address of one of them. newlines: whether they are white space: true for
array elements, false for JSON Lines.
"""

import numpy as np

from pipeline.native.compiler import compiled
from pipeline.native.memory import LANES, byte, load, same_bytes, store
from pipeline.native.names import field_at, match_string
from pipeline.native.strings import QUOTE, after_string
from pipeline.native.values import CLOSE, CLOSE_LIST, COLON, COMMA, OPEN, OPEN_LIST, after_literal, skip_spaces

ID, EVENT, TIME, STRING, NUMBER, NOTHING, END = (np.int64(k) for k in range(7))
"""Kinds of gaps by what follows: the value of a field, another string or number, no value, the end of the record."""

# The nesting at the end of a gap: a bit for each level, 1 for an object, below a leading 1.
_OUTSIDE, _IN_RECORD, _DEEPEST = np.uint64(0b10), np.uint64(0b101), np.uint64(1 << 31)

# Offsets of a gap's attributes, after its LANES bytes. _IGNORED: mask of the bytes after its end, 0 in a free slot;
# SIZE in bytes; KIND; _NESTING after it and _NESTING_BEFORE; _FIRST, _LATEST: addresses of two successors.
_IGNORED, SIZE, KIND, _NESTING, _NESTING_BEFORE, _FIRST, _LATEST = range(LANES, LANES + 56, 8)
_GAP_BYTES = 128
_SLOTS_LOG2 = 8
_SLOTS, _MAX_PROBES = 1 << _SLOTS_LOG2, 5
_TABLE = (
    2 * _GAP_BYTES
)  # offset of the hash table; before it, the gap before any record and a gap for what is not cached

GAPS_BYTES = _TABLE + _SLOTS * _GAP_BYTES
"""Size of the memory for gaps."""

_HASHED = np.int64(5)  # bytes: most names differ in these
_FACTOR, _GOLDEN = np.uint64(977), np.uint64(0x9E3779B97F4A7C15)
_ONE, _ALL = np.uint64(1), np.uint64(2**64 - 1)


@compiled
def _parse(d, i, end, newlines, nesting, text):
    """Parses the gap at i, from a nesting: returns (index after it or -1, kind, nesting after it)."""
    inside = nesting != _OUTSIDE
    while True:
        if inside:
            i = skip_spaces(d, i, end, newlines)
            if byte(d, i) == (CLOSE if nesting & _ONE else CLOSE_LIST):
                nesting >>= _ONE
                if nesting == _OUTSIDE:
                    return _after_record(d, i + 1, end, newlines), END, nesting
                i += 1
                continue
            if byte(d, i) != COMMA:
                break
            i = skip_spaces(d, i + 1, end, newlines)
        field = np.int64(-1)
        if nesting & _ONE:
            field, i = _name(d, i, end, newlines, nesting, text)
            if i < 0:
                break
        c = byte(d, i)
        if c != OPEN and c != OPEN_LIST:
            return _before_scalar(d, i, c, field, nesting)
        if field >= 0 or nesting >= _DEEPEST or (nesting == _OUTSIDE and c != OPEN):
            break
        nesting = (nesting << _ONE) | np.uint64(c == OPEN)
        i = skip_spaces(d, i + 1, end, newlines)
        inside = byte(d, i) == (CLOSE if c == OPEN else CLOSE_LIST)
    return np.int64(-1), NOTHING, nesting


@compiled
def _after_record(d, i, end, newlines):
    """Returns the index after the record that ends at i, in JSON Lines after its line; -1 if the line continues."""
    if newlines:
        return i
    i = skip_spaces(d, i, end, newlines)
    return i + 1 if byte(d, i) == 10 else np.int64(-1)


@compiled
def _name(d, i, end, newlines, nesting, text):
    """Returns (index of the name of the member at i in FIELDS or -1, index of its value or -1)."""
    field = np.int64(-1)
    if byte(d, i) != QUOTE:
        return field, np.int64(-1)
    if nesting == _IN_RECORD:
        field, i = match_string(d, i + 1, end, field_at, text)
    else:
        i = after_string(d, i + 1, end)
    if i < 0:
        return field, np.int64(-1)
    i = skip_spaces(d, i, end, newlines)
    return field, skip_spaces(d, i + 1, end, newlines) if byte(d, i) == COLON else np.int64(-1)


@compiled
def _before_scalar(d, i, c, field, nesting):
    """Returns the result of _parse for the scalar at i. A literal is part of the gap; fields must have their type."""
    if nesting == _OUTSIDE:
        return np.int64(-1), NOTHING, nesting
    if c == QUOTE and field != TIME:
        return i + 1, (field if field >= 0 else STRING), nesting
    if c == QUOTE or field == ID or field == EVENT:
        return np.int64(-1), NOTHING, nesting
    if field == TIME:
        return i, TIME, nesting
    if c == 116 or c == 102 or c == 110:  # true, false, null
        return after_literal(d, i), NOTHING, nesting
    return i, NUMBER, nesting


@compiled
def init_gaps(gaps):
    """Initializes memory for gaps. The first one is the gap before any record."""
    for at in range(0, GAPS_BYTES, 8):
        store(gaps, at, 0)
    _set_attributes(gaps, gaps, np.int64(0), END, _OUTSIDE)


@compiled
def _set_attributes(gaps, gap, size, kind, nesting):
    """Sets the attributes of a gap, without its bytes."""
    store(gap, SIZE, size)
    store(gap, KIND, kind)
    store(gap, _NESTING, nesting)
    store(gap, _FIRST, gaps + _GAP_BYTES)  # which matches no bytes
    store(gap, _LATEST, gaps + _GAP_BYTES)


@compiled
def _matches(d, i, gap):
    return (same_bytes(d, i, gap) | load(gap, _IGNORED)) == _ALL


@compiled
def _slot(d, i, size, nesting):
    """Returns the slot of the gap at i in the table."""
    word = (load(d, i) << np.uint64(64 - 8 * min(size, _HASHED))) ^ (nesting * _FACTOR)
    return np.int64((word * _GOLDEN) >> np.uint64(64 - _SLOTS_LOG2))


@compiled
def find_cached_gap(d, i, gaps, gap):
    """Returns the gap at i after another gap if it is cached, else 0. Reads LANES bytes."""
    found = np.int64(load(gap, _FIRST))
    if _matches(d, i, found):
        return found
    found = np.int64(load(gap, _LATEST))
    if _matches(d, i, found):
        return found
    nesting = load(gap, _NESTING)
    found = gaps + _TABLE + _GAP_BYTES * _slot(d, i, _HASHED, nesting)
    if load(found, _NESTING_BEFORE) == nesting and _matches(d, i, found):
        store(gap, _LATEST, found)
        return found
    return np.int64(0)


@compiled
def parse_gap(d, i, end, newlines, gaps, gap, text):
    """Parses the gap at i after another gap, and caches it; returns 0 if it is invalid."""
    nesting = load(gap, _NESTING)
    stop, kind, nesting_after = _parse(d, i, end, newlines, nesting, text)
    if stop < 0:
        return np.int64(0)
    size = stop - i
    if size <= LANES and i + LANES <= end:
        slot = _slot(d, i, size, nesting)
        for k in range(_MAX_PROBES):
            found = gaps + _TABLE + _GAP_BYTES * ((slot + k) % _SLOTS)
            if load(found, _IGNORED) == 0:
                _set_attributes(gaps, found, size, kind, nesting_after)
                _store_bytes(d, i, found, size, nesting)
            if load(found, SIZE) == size and load(found, _NESTING_BEFORE) == nesting and _matches(d, i, found):
                _add_successor(gaps, gap, found)
                return found
    _set_attributes(gaps, gaps + _GAP_BYTES, size, kind, nesting_after)
    return gaps + _GAP_BYTES


@compiled
def _store_bytes(d, i, gap, size, nesting):
    for at in range(0, LANES, 8):
        store(gap, at, load(d, i + at))
    store(gap, _IGNORED, _ALL << np.uint64(size))
    store(gap, _NESTING_BEFORE, nesting)


@compiled
def _add_successor(gaps, gap, found):
    """Records that one gap followed another. A gap before a number may be a prefix of it, so it is tried second."""
    first = np.int64(load(gap, _FIRST))
    kind = np.int64(load(first, KIND))
    if first == gaps + _GAP_BYTES or kind == NUMBER or kind == TIME:
        store(gap, _LATEST, first)
        store(gap, _FIRST, found)
    else:
        store(gap, _LATEST, found)
