"""The compiled JSON scanner: turns a block of bytes into columns at 4 GB/s per core (docs/scaling.md).

It is a complete strict JSON reader (RFC 8259: escapes, UTF-8, numbers, nesting) that decodes only valid events. It
returns every other record as a span for the strict Python decoder in `decoding.py`, which alone decides on rejects.
`tests/formats/test_decoding_property.py` checks that both agree.

Called through `loader.py`; importing this module imports numba (0.4 s).

d: address of the bytes. i: an index. end: where to stop. w: index in an output. n: number of events.
"""

import numpy as np

from pipeline.native.boundaries import count_lines
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
    find_cached_gap,
    init_gaps,
    parse_gap,
)
from pipeline.native.loader import SCRATCH_WORDS
from pipeline.native.memory import LANES, byte, copy, load, store, store_byte
from pipeline.native.names import TEXT_BYTES, event_at, match_string
from pipeline.native.strings import QUOTE, after_string, plain_end, skip_string, string_end, unescape
from pipeline.native.values import (
    CLOSE,
    CLOSE_LIST,
    COMMA,
    OPEN,
    OPEN_LIST,
    after_number,
    parse_timestamp,
    skip_spaces,
)

# Typed: for a literal, numba would compile the callee a second time.
_ZERO_INDEX = np.int64(0)

_RESULT_BYTES = 24  # of scratch memory for results of `scan`
assert _RESULT_BYTES + TEXT_BYTES + GAPS_BYTES <= 8 * SCRATCH_WORDS

_COUNT_BYTES = 8 * 1024  # lines are counted while these bytes are in the L1 cache; a separate pass takes 7 % longer


@compiled
def _next_adjacent(d, i, elements):
    """Returns the index of the record after i if the usual separator precedes it, else -1."""
    if elements:
        if byte(d, i) != COMMA:
            return np.int64(-1)
        i += 1 + (byte(d, i + 1) == 32)
    return i if byte(d, i) == OPEN else np.int64(-1)


@compiled
def _decode_id(d, i, end, want_ids, ids, w):
    """Copies the id at i to ids at w; returns (index after it or -1, the new w)."""
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
def _decode_value(d, i, end, kind, text, codes, times, n):
    """Decodes the timestamp or event type at i; returns the index after it, or -1."""
    if kind == TIME:
        i, time = parse_timestamp(d, i, end)
        store(times, 8 * n, time)
        return i
    code, i = match_string(d, i, end, event_at, text)
    store_byte(codes, n, code)
    return i if code >= 0 else np.int64(-1)


@compiled
def _decode_events(d, i, end, elements, stop_at, limit, gaps, text, codes, times, want_ids, id_ends, ids, n):
    """Decodes events starting at i, until one needs the strict decoder or ends after stop_at.

    limit: the last index where cached gaps are used, in the first record; after that they are parsed.
    Returns (index after the last event or of the record for the strict decoder, the new n, whether there is one).
    """
    begin, gap, seen = i, gaps, _ZERO_INDEX
    w = np.int64(load(id_ends, 8 * n - 8)) if want_ids and n > 0 else _ZERO_INDEX
    while i >= 0:
        before, gap = gap, find_cached_gap(d, i, gaps, gap) if i <= limit else _ZERO_INDEX
        if not gap:
            gap = parse_gap(d, i, end, elements, gaps, before, text)
            if not gap:
                break
        i += np.int64(load(gap, SIZE))
        kind = np.int64(load(gap, KIND))
        if kind == STRING:
            i = after_string(d, i, end)
        elif kind == NUMBER:
            i = after_number(d, i, end)
        elif kind == END:
            # seen: 3 bits per field, the latest lowest: exactly three fields (< 512), and each of ID, EVENT and TIME
            if not 0 <= seen < 512 or (seen | seen >> 3 | seen >> 6) & 7 != 7:
                break
            if want_ids:
                store(id_ends, 8 * n, w)
            n += 1
            begin = _next_adjacent(d, i, elements) if i < stop_at else np.int64(-1)
            if begin < 0:
                return i, n, False
            i, limit, gap, seen = begin, end - LANES, gaps, _ZERO_INDEX
        elif kind != NOTHING:
            seen = seen << 3 | 1 << kind
            if kind == ID:
                i, w = _decode_id(d, i, end, want_ids, ids, w)
            else:
                i = _decode_value(d, i, end, kind, text, codes, times, n)
    return begin, n, True


@compiled
def _line_end(d, i):
    """Returns the end of the line at i, without trailing white space."""
    while byte(d, i) != 10:
        i += 1
    while byte(d, i - 1) == 32 or byte(d, i - 1) == 9 or byte(d, i - 1) == 13:
        i -= 1
    return i


@compiled
def _element_end(d, i, end):
    """Returns the index after the array element at i, by strings and brackets alone (it may be invalid JSON)."""
    depth = 0
    while i < end:
        c = byte(d, i)
        if c == QUOTE:
            i = skip_string(d, i, end)
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
def _store_span(d, i, end, elements, span, before):
    """Stores the span of the record at i, and the number of records before it, in span; returns its end."""
    stop = _element_end(d, i, end) if elements else _line_end(d, i)
    store(span, 0, i)
    store(span, 8, stop)
    store(span, 16, before)
    return stop


@compiled
def _next_record(d, i, end, elements, first):
    """Returns (index of the next record or -1, index of a missing comma or element or -1); i: end of a record."""
    i = skip_spaces(d, i, end, True)
    if elements and not first:
        if i >= end or byte(d, i) != COMMA:
            return np.int64(-1), (i if i < end else np.int64(-1))
        i = skip_spaces(d, i + 1, end, True)
    if i < end:
        return i, np.int64(-1)
    return np.int64(-1), (i if elements else np.int64(-1))


@compiled
def scan(d, size, elements, codes, times, want_ids, id_ends, ids, fallback_spans, results):
    """Scans JSON Lines or the inside of a JSON array; returns the number of events.

    Args:
      d: address of the bytes; the last one is a newline.
      size: number of bytes.
      elements: whether they are the inside of a JSON array.
      codes, times: outputs, uint8 and int64, size // 40 + 1 items each: the shortest event has 43 bytes.
      want_ids: whether to write id_ends (int64, as many items) and ids (size bytes).
      fallback_spans: output, size // 2 + 1 triples of int64: start and stop of a record for the strict decoder, and
        the number of records before it.
      results: scratch memory, SCRATCH_WORDS int64. Its first three words are outputs: the number of fallback_spans; the
        index of a missing comma or element, or -1; the number of nonblank lines (0 for elements), counted
        independently.
    """
    text = results + _RESULT_BYTES
    gaps = text + TEXT_BYTES
    init_gaps(gaps)
    end = size - 1
    n = fallback_count = i = lines = _ZERO_INDEX
    counted = np.int64(1)
    while True:
        i, error = _next_record(d, i, end, elements, n + fallback_count == 0)
        if i < 0:
            break
        stop_at = min(i + _COUNT_BYTES, end)
        for limit in (end - LANES, np.int64(-1)):  # retry without cached gaps: one may be a prefix of the actual gap
            i, n, needs_fallback = _decode_events(
                d, i, end, elements, stop_at, limit, gaps, text, codes, times, want_ids, id_ends, ids, n
            )
            if not needs_fallback:
                break
        if needs_fallback:
            stop = _store_span(d, i, end, elements, fallback_spans + 24 * fallback_count, n + fallback_count)
            if stop <= i:
                error = i
                break
            fallback_count += 1
            i = stop
        if not elements and i > counted:
            lines += count_lines(d, counted, i)
            counted = i
    store(results, 0, fallback_count)
    store(results, 8, error)
    store(results, 16, _ZERO_INDEX if elements else lines + count_lines(d, counted, size))
    return n
