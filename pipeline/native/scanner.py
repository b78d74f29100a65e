"""The compiled JSON scanner: turns a block of bytes into columns at about memory speed.

It is a complete strict JSON reader (RFC 8259: escapes, UTF-8, numbers, nesting) that takes a
record only when it understands all of it *and* the record is a valid event. Every other record is handed back as
a span of bytes for the strict Python decoder in `decoding.py`, which alone decides what is rejected and why.
So the scanner can be fast and never has to be clever; `tests/formats/test_decoding_property.py` holds the two together.

Compiled ahead and called through `loader.py`; importing this module imports numba (0.4 s).
"""

import numpy as np

from pipeline.native.compiler import compiled
from pipeline.native.layout import (
    END,
    GAPS_BYTES,
    ID,
    KIND,
    NOTHING,
    NUMBER,
    SIZE,
    STRING,
    TIME,
    following,
    forget,
    parsed,
)
from pipeline.native.lines import count_lines
from pipeline.native.loader import SCRATCH_WORDS
from pipeline.native.memory import LANES, byte, copy, load, store, store_byte
from pipeline.native.names import TEXT_BYTES, event_at, known
from pipeline.native.strings import QUOTE, after_string, plain_end, string_end, string_skip, unescape
from pipeline.native.values import (
    CLOSE,
    CLOSE_LIST,
    COMMA,
    OPEN,
    OPEN_LIST,
    after_number,
    spaces,
    timestamp,
)

# Of a type of its own: for a literal number numba would compile the callee once more.
_ZERO_INDEX = np.int64(0)

_FOUND_BYTES = 24  # of scratch memory for what `scan` tells
assert _FOUND_BYTES + TEXT_BYTES + GAPS_BYTES <= 8 * SCRATCH_WORDS

_BEHIND = 8 * 1024  # bytes that lines are counted in, while the nearest cache has them: a count of its own takes 7 %


@compiled
def _next_in_row(d, i, elements):
    """Index of the next record where the one that ends at i has the usual separator behind it, else -1."""
    if elements:
        if byte(d, i) != COMMA:
            return np.int64(-1)
        i += 1 + (byte(d, i + 1) == 32)
    return i if byte(d, i) == OPEN else np.int64(-1)


@compiled
def _take_id(d, i, end, want_ids, ids, w):
    """(index after the id whose text begins at i, or -1; index after the ids, of which w bytes were there)."""
    start, escaped = i, False
    i = plain_end(d, i, end)
    if byte(d, i) != QUOTE:
        i, escaped = string_end(d, start, end)
    if i <= start:
        return np.int64(-1), w
    if want_ids:
        w = unescape(d, start, i, ids, w) if escaped else copy(d, start, i, ids, w)
    return i + 1, w


@compiled
def _take_value(d, i, end, kind, text, codes, times, n):
    """Index after the timestamp or event type at i, or -1."""
    if kind == TIME:
        i, time = timestamp(d, i, end)
        store(times, 8 * n, time)
        return i
    code, i = known(d, i, end, event_at, text)
    store_byte(codes, n, code)
    return i if code >= 0 else np.int64(-1)


@compiled
def _take_events(d, i, end, elements, stop_at, limit, gaps, text, codes, times, want_ids, id_ends, ids, n):
    """Takes the events from i on, up to one for the strict decoder, or the first that ends behind stop_at.

    limit: the last index where gaps are looked up, in the first record; elsewhere they are parsed.
    Returns (index after the last one or of the one for the strict decoder, the new n, whether there is such a one).
    """
    begin, gap, seen = i, gaps, _ZERO_INDEX
    w = np.int64(load(id_ends, 8 * n - 8)) if want_ids and n > 0 else _ZERO_INDEX
    while i >= 0:
        before, gap = gap, following(d, i, gaps, gap) if i <= limit else _ZERO_INDEX
        if not gap:
            gap = parsed(d, i, end, elements, gaps, before, text)
            if not gap:
                break
        i += np.int64(load(gap, SIZE))
        kind = np.int64(load(gap, KIND))
        if kind == STRING:
            i = after_string(d, i, end)
        elif kind == NUMBER:
            i = after_number(d, i, end)
        elif kind == END:
            if not 0 <= seen < 512 or (seen | seen >> 3 | seen >> 6) & 7 != 7:
                break
            if want_ids:
                store(id_ends, 8 * n, w)
            n += 1
            begin = _next_in_row(d, i, elements) if i < stop_at else np.int64(-1)
            if begin < 0:
                return i, n, False
            i, limit, gap, seen = begin, end - LANES, gaps, _ZERO_INDEX
        elif kind != NOTHING:
            seen = seen << 3 | 1 << kind
            if kind == ID:
                i, w = _take_id(d, i, end, want_ids, ids, w)
            else:
                i = _take_value(d, i, end, kind, text, codes, times, n)
    return begin, n, True


@compiled
def _line_end(d, i):
    """Where the line that holds i ends, without the white space before its newline."""
    while byte(d, i) != 10:
        i += 1
    while byte(d, i - 1) == 32 or byte(d, i - 1) == 9 or byte(d, i - 1) == 13:
        i -= 1
    return i


@compiled
def _element_end(d, i, end):
    """Index after the array element at i, found by strings and brackets alone (it may not be JSON); end if open."""
    depth = 0
    while i < end:
        c = byte(d, i)
        if c == QUOTE:
            i = string_skip(d, i, end)
            continue
        if c == OPEN or c == OPEN_LIST:
            depth += 1
        elif c == CLOSE or c == CLOSE_LIST:
            depth -= 1
            if depth <= 0:
                return i + 1 if depth == 0 else i
        elif depth == 0 and (c == COMMA or c == 32 or c == 9 or c == 10 or c == 13):
            return i
        i += 1
    return end


@compiled
def _leave(d, i, end, elements, span, before):
    """Leaves the record at i to the strict decoder: its span and the number of records before it. Returns its end."""
    stop = _element_end(d, i, end) if elements else _line_end(d, i)
    store(span, 0, i)
    store(span, 8, stop)
    store(span, 16, before)
    return stop


@compiled
def _next_record(d, i, end, elements, first):
    """(index of the next record or -1, where the array lacks a comma or an element or -1), from the end of one on."""
    i = spaces(d, i, end, True)
    if elements and not first:
        if i >= end or byte(d, i) != COMMA:
            return np.int64(-1), (i if i < end else np.int64(-1))
        i = spaces(d, i + 1, end, True)
    if i < end:
        return i, np.int64(-1)
    return np.int64(-1), (i if elements else np.int64(-1))


@compiled
def scan(d, size, elements, codes, times, want_ids, id_ends, ids, fallback_spans, found):
    """Scans JSON Lines, or the inside of a JSON array (elements), at d; its last byte is a newline.

    codes uint8, times int64, and with want_ids id_ends int64 and ids uint8 take the valid events: size // 40 + 1, and
    size bytes of ids. fallback_spans, size // 2 + 1 int64 triples, takes records for the strict decoder: the span, and
    the number of records before it. Blank lines are no records. found, int64 and SCRATCH_WORDS long, takes the number
    of fallback_spans; where the array lacks a comma or an element, or -1; and the number of lines (0 of elements),
    counted apart by going over every byte. Returns how many events there are.
    """
    text = found + _FOUND_BYTES
    gaps = text + TEXT_BYTES
    forget(gaps)
    end = size - 1
    n = fallback_count = i = lines = _ZERO_INDEX
    counted = np.int64(1)
    while True:
        i, error = _next_record(d, i, end, elements, n + fallback_count == 0)
        if i < 0:
            break
        stop_at = min(i + _BEHIND, end)
        for limit in (end - LANES, np.int64(-1)):  # a known gap may be the beginning of the one that stands there
            i, n, is_unclear = _take_events(
                d, i, end, elements, stop_at, limit, gaps, text, codes, times, want_ids, id_ends, ids, n
            )
            if not is_unclear:
                break
        if is_unclear:
            stop = _leave(d, i, end, elements, fallback_spans + 24 * fallback_count, n + fallback_count)
            if stop <= i:
                error = i
                break
            fallback_count += 1
            i = stop
        if not elements and i > counted:
            lines += count_lines(d, counted, i)
            counted = i
    store(found, 0, fallback_count)
    store(found, 8, error)
    store(found, 16, _ZERO_INDEX if elements else lines + count_lines(d, counted, size))
    return n
