"""The compiled JSON scanner: turns a block of bytes into columns at about memory speed.

It is a complete strict JSON reader (RFC 8259: escapes, UTF-8, numbers, nesting) that takes a
record only when it understands all of it *and* the record is a valid event. Every other record is handed back as
a span of bytes for the strict Python decoder in `decoding.py`, which alone decides what is rejected and why.
So the scanner can be fast and never has to be clever; `tests/formats/test_decoding_property.py` holds the two together.

Compiled ahead and called through `loader.py`; importing this module imports numba (0.4 s).
"""

import numpy as np

from pipeline.native.compiler import compiled
from pipeline.native.layout import LAYOUT_BYTES, REACH, SPANS_BYTES, learn, take
from pipeline.native.lines import count_lines
from pipeline.native.loader import SCRATCH_WORDS
from pipeline.native.memory import byte, load, store, store_byte
from pipeline.native.names import TEXT_BYTES, event_at, field_at, known
from pipeline.native.strings import QUOTE, string_end, string_skip, unescape
from pipeline.native.values import (
    CLOSE,
    CLOSE_LIST,
    COLON,
    COMMA,
    OPEN,
    OPEN_LIST,
    member_value,
    spaces,
    timestamp,
    value_end,
)

# Of a type of its own: for a literal number numba would compile the callee once more.
_ZERO_INDEX = np.int64(0)

_PATIENCE = np.int64(
    64
)  # records that are not laid out as the one before, in a block, more than are: then none is tried

_FOUND_BYTES = 24  # of scratch memory for what `scan` tells
assert _FOUND_BYTES + TEXT_BYTES + SPANS_BYTES + LAYOUT_BYTES <= 8 * SCRATCH_WORDS

_BEHIND = 8 * 1024  # bytes that lines are counted in, while the nearest cache has them: a count of its own takes 7 %


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
def _member(d, i, end, newlines):
    """Index after the member of no interest whose name's quote is at i, or -1."""
    i = member_value(d, i, end, newlines)
    return value_end(d, i, end, newlines) if i > 0 else -1


@compiled
def _record(d, i, end, newlines, text, spans):
    """The event whose brace is at i: (index after it, code, timestamp, where its id starts and stops, escaped or not).

    The index is -1 where the record is unclear. spans: takes where each value starts and stops, without quotes.
    """
    seen = code = time = start = stop = _ZERO_INDEX
    escaped = False
    while True:
        i = spaces(d, i + 1, end, newlines)
        if byte(d, i) != QUOTE:
            break
        field, after = known(d, i + 1, end, field_at, text)
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
            quoted = field != 2
            if quoted and byte(d, i) != QUOTE:
                break
            begin = i + quoted
            if field == 2:
                i, time = timestamp(d, i, end)
            elif field == 1:
                code, i = known(d, begin, end, event_at, text)
                if code < 0:
                    break
            else:
                start = begin
                stop, escaped = string_end(d, start, end)
                i = stop + 1 if stop > start else -1
            store(spans, 16 * field, begin)
            store(spans, 16 * field + 8, i - quoted)
        if i < 0:
            break
        i = spaces(d, i, end, newlines)
        if byte(d, i) == CLOSE and seen == 7:
            return i + 1, code, time, start, stop, escaped
        if byte(d, i) != COMMA:
            break
    return -1, code, time, start, stop, escaped


@compiled
def _whole(d, i, end, elements, text, spans):
    """As _record, with nothing behind it on its line; what follows an element of an array is another's business."""
    if i >= end or byte(d, i) != OPEN:
        return np.int64(-1), _ZERO_INDEX, _ZERO_INDEX, i, i, False
    stop, code, time, id_start, id_stop, escaped = _record(d, i, end, elements, text, spans)
    if stop > 0 and not elements:
        stop = spaces(d, stop, end, elements)
        stop = stop if byte(d, stop) == 10 else np.int64(-1)
    return stop, code, time, id_start, id_stop, escaped


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
def scan(d, size, elements, codes, times, want_ids, id_ends, ids, unclear, found):
    """Scans JSON Lines, or the inside of a JSON array (elements), at d; its last byte is a newline.

    codes uint8, times int64, and with want_ids id_ends int64 and ids uint8 take the valid events. unclear, int64
    triples, takes what is not understood: its span, and the number of records before it. Blank lines are none. found,
    int64 and SCRATCH_WORDS long, takes how many were unclear, where the array lacks a comma or an element, or -1, and
    how many lines were counted, which is no business of what is scanned: `count_lines` goes over every byte of them.

    Returns how many events there are. Room is needed for size // 40 + 1 events, size bytes of ids and size // 2 + 1
    unclear records.
    """
    text = found + _FOUND_BYTES
    spans = text + TEXT_BYTES
    layout, learned, patience = spans + SPANS_BYTES, False, _PATIENCE
    end = size - 1
    n = unclear_count = w = i = lines = _ZERO_INDEX
    counted = size if elements else np.int64(1)
    error = np.int64(-1)
    while True:
        if i - counted >= _BEHIND:
            lines += count_lines(d, counted, i)
            counted = i
        alike = learned and patience > 0 and i + REACH <= end
        if alike:
            stop, code, time, id_start, id_stop = take(d, i, end, layout)
            alike, escaped = stop > 0, False
        if not alike:
            i = spaces(d, i, end, True)
            if i >= end and not elements:
                break
            begin = i
            stop, code, time, id_start, id_stop, escaped = _whole(d, i, end, elements, text, spans)
        valid = stop > 0
        if valid:
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
            store(unclear, 24 * unclear_count, i)
            store(unclear, 24 * unclear_count + 8, stop)
            store(unclear, 24 * unclear_count + 16, n + unclear_count)
            unclear_count += 1
        if alike:
            i = stop
            patience = min(patience + 1, _PATIENCE)
            continue
        i = spaces(d, stop, end, elements)
        if elements:
            if i >= end:
                break
            if byte(d, i) != COMMA:
                error = i
                break
            i = spaces(d, i + 1, end, elements)
        else:
            i += 1
        if valid and patience > 0 and i + REACH <= end:
            patience -= 1
            learned = learn(d, begin, i, spans, layout)
    store(found, 0, unclear_count)
    store(found, 8, error)
    store(found, 16, lines + count_lines(d, counted, size))
    return n
