"""The compiled JSON scanner: turns a block of bytes into columns at about memory speed.

It is a complete strict JSON reader (RFC 8259: escapes, UTF-8, numbers, nesting) that takes a
record only when it understands all of it *and* the record is a valid event. Every other record is handed back as
a span of bytes ("odd") for the strict Python decoder in `decoding.py`, which alone decides what is rejected and why.
So the scanner can be fast and never has to be clever; `tests/test_decoding_property.py` holds the two together.

Compiled ahead and called through `native.py`; importing this module imports numba (0.4 s).
"""

from typing import Any

import numpy as np

from pipeline.native.compiler import compiled
from pipeline.native.loader import SCRATCH_WORDS
from pipeline.native.memory import byte, load, store, store_byte
from pipeline.native.strings import QUOTE, string_end, string_skip, unescape
from pipeline.native.values import (
    CLOSE,
    CLOSE_LIST,
    COLON,
    COMMA,
    NINE,
    OPEN,
    OPEN_LIST,
    ZERO,
    member_value,
    spaces,
    value_end,
)
from pipeline.schema import EVENT_TYPES, FIELDS, MAX_TIMESTAMP

_NAME_BYTES = 16  # of the longest name known here, with its quote
_TEXT_BYTES = 8 * (SCRATCH_WORDS - 2)  # of scratch memory for a name or event type without its escapes
assert _TEXT_BYTES >= 6 * _NAME_BYTES + 1


def _table(names: tuple[str, ...]) -> Any:
    """A row a name with its closing quote: two words (uint64), which of their bits count, its length in bytes."""
    rows = []
    for name in names:
        quoted = name.encode() + b'"'
        mask = b"\xff" * len(quoted)
        cells = (quoted.ljust(_NAME_BYTES, b"\0") + mask.ljust(_NAME_BYTES, b"\0"), len(quoted).to_bytes(8, "little"))
        rows.append(np.frombuffer(b"".join(cells), "<u8"))
    return np.array(rows)


_NAMES = _table(FIELDS + EVENT_TYPES)
# Of a type of their own: for a literal number numba would compile the callee once more.
_ZERO_INDEX, _FIELD_COUNT, _NAME_COUNT = np.int64(0), np.int64(len(FIELDS)), np.int64(len(_NAMES))


@compiled
def _match(d, i, end, first, last):
    """Which of the rows first to last of _NAMES stands at i, or -1; -2 so near the end that words cannot be loaded."""
    if i + _NAME_BYTES > end:
        return -2
    low, high = load(d, i), load(d, i + 8)
    for k in range(first, last):
        if low & _NAMES[k, 2] == _NAMES[k, 0] and high & _NAMES[k, 3] == _NAMES[k, 1]:
            return k
    return -1


@compiled
def _known(d, i, end, first, last, text):
    """(which of the rows first to last of _NAMES the string from i on is, or -1; index after it, or -1)."""
    k = _match(d, i, end, first, last)
    if k >= 0:
        return k, i + np.int64(_NAMES[k, 4])
    stop, escaped = string_end(d, i, end)
    if k == -2 or stop < 0:
        return -1, np.int64(-1)
    if escaped and stop - i < _TEXT_BYTES:
        store_byte(text, unescape(d, i, stop, text, _ZERO_INDEX), QUOTE)
        k = _match(text, _ZERO_INDEX, np.int64(_TEXT_BYTES), first, last)
    return k, stop + 1


@compiled
def copy(source, start, stop, size, out, w, room):
    """Copies source from start to stop to out from w on; returns the new w. size and room: bytes of source and out.

    Whole words are copied while both have room for them, so up to 7 bytes behind the new w are overwritten.
    """
    end = w + stop - start
    while w < end and start + 8 <= size and w + 8 <= room:
        store(out, w, load(source, start))
        start += 8
        w += 8
    while w < end:
        store_byte(out, w, byte(source, start))
        start += 1
        w += 1
    return end


@compiled
def _timestamp(d, i):
    """(index after the whole number at i, its value), or (-1, _) where it is none or out of range."""
    start = i
    value = 0
    while ZERO <= byte(d, i) <= NINE and i - start < 13:
        value = value * 10 + (byte(d, i) - 48)
        i += 1
    if i == start or value >= MAX_TIMESTAMP or (byte(d, start) == ZERO and i - start > 1):
        return -1, value
    return i, value


@compiled
def _member(d, i, end, newlines):
    """Index after the member of no interest whose name's quote is at i, or -1."""
    i = member_value(d, i, end, newlines)
    return value_end(d, i, end, newlines) if i > 0 else -1


@compiled
def _record(d, i, end, newlines, text):
    """The event whose brace is at i: (index after it, code, timestamp, where its id starts and stops, escaped or not).

    The index is -1 where the record is odd.
    """
    seen = code = time = start = stop = _ZERO_INDEX
    escaped = False
    while True:
        i = spaces(d, i + 1, end, newlines)
        if byte(d, i) != QUOTE:
            break
        field, after = _known(d, i + 1, end, _ZERO_INDEX, _FIELD_COUNT, text)
        if after < 0:
            break
        if field < 0:
            i = _member(d, i, end, newlines)
        else:
            i = spaces(d, after, end, newlines)
            if seen & (1 << field) or byte(d, i) != COLON:
                break
            seen |= 1 << field
            i = spaces(d, i + 1, end, newlines)
            if field == 2:
                i, time = _timestamp(d, i)
            elif byte(d, i) != QUOTE:
                break
            elif field == 1:
                code, i = _known(d, i + 1, end, _FIELD_COUNT, _NAME_COUNT, text)
                if code < 0:
                    break
            else:
                start = i + 1
                stop, escaped = string_end(d, start, end)
                i = stop + 1 if stop > start else -1
        if i < 0:
            break
        i = spaces(d, i, end, newlines)
        if byte(d, i) == CLOSE and seen == 7:
            return i + 1, code - _FIELD_COUNT, time, start, stop, escaped
        if byte(d, i) != COMMA:
            break
    return -1, code, time, start, stop, escaped


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
    start = i
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
        elif depth == 0 and i > start and (c == COMMA or c == 32 or c == 9 or c == 10 or c == 13):
            return i
        i += 1
    return end


@compiled
def scan(d, size, elements, codes, times, want_ids, id_ends, ids, odd, found):
    """Scans JSON Lines, or the inside of a JSON array (elements), at d; its last byte is a newline.

    codes uint8, times int64, and with want_ids id_ends int64 and ids uint8 take the valid events. odd, int64 triples,
    takes what was not understood: its span, and how many records stand before it. Blank lines are neither. found,
    int64 and SCRATCH_WORDS long, takes how many were odd, and where the array lacks a comma or an element, or -1.

    Returns how many events there are. Room is needed for size // 40 + 1 events, size bytes of ids and size // 2 + 1
    odd records.
    """
    text = found + 16
    end = size - 1
    n = odds = w = i = _ZERO_INDEX
    error = np.int64(-1)
    i = spaces(d, i, end, elements)
    while i < end or elements:
        if not elements and byte(d, i) == 10:
            i = spaces(d, i + 1, end, elements)
            continue
        stop = -1
        if i < end and byte(d, i) == OPEN:
            stop, code, time, id_start, id_stop, escaped = _record(d, i, end, elements, text)
            if stop > 0 and not elements:
                stop = spaces(d, stop, end, elements)
                stop = stop if byte(d, stop) == 10 else -1
        if stop > 0:
            store_byte(codes, n, code)
            store(times, 8 * n, time)
            if want_ids:
                if escaped:
                    w = unescape(d, id_start, id_stop, ids, w)
                else:
                    w = copy(d, id_start, id_stop, end, ids, w, size)
                store(id_ends, 8 * n, w)
            n += 1
        else:
            stop = _element_end(d, i, end) if elements else _line_end(d, i)
            if stop <= i or (elements and byte(d, i) == COMMA):
                error = i
                break
            store(odd, 24 * odds, i)
            store(odd, 24 * odds + 8, stop)
            store(odd, 24 * odds + 16, n + odds)
            odds += 1
        i = spaces(d, stop, end, elements)
        if elements:
            if i >= end:
                break
            if byte(d, i) != COMMA:
                error = i
                break
            i = spaces(d, i + 1, end, elements)
    store(found, 0, odds)
    store(found, 8, error)
    return n


@compiled
def last_comma(d, end, found):
    """The index of the last comma between elements, or -1; d begins with an element of an array and has end bytes.

    found, two int64, takes how many such commas there are, and the index of the array's end or -1.
    """
    depth = i = count = _ZERO_INDEX
    comma = array_end = np.int64(-1)
    while i < end:
        c = byte(d, i)
        if c == QUOTE:
            i = string_skip(d, i, end)
            continue
        if c == OPEN or c == OPEN_LIST:
            depth += 1
        elif c == CLOSE or c == CLOSE_LIST:
            depth -= 1
            if depth < 0:
                array_end = i
                break
        elif c == COMMA and depth == 0:
            comma = i
            count += 1
        i += 1
    store(found, 0, count)
    store(found, 8, array_end)
    return comma
