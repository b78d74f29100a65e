"""The compiled JSON scanner: turns a block of bytes into columns at about memory speed.

It is a complete strict JSON reader (RFC 8259: escapes, UTF-8, numbers, nesting, duplicate names) that takes a
record only when it understands all of it *and* the record is a valid event. Every other record is handed back as
a span of bytes ("odd") for the strict Python decoder in `decoding.py`, which alone decides what is rejected and why.
So the scanner can be fast and never has to be clever; `tests/test_decode_property.py` holds the two together.

Importing this module imports numba (0.3 s). All functions run without the interpreter lock.
"""

from typing import Any

import numpy as np

from pipeline.compiling import compiled
from pipeline.events import EVENT_TYPES, FIELDS, MAX_TIMESTAMP
from pipeline.words import byte, load, lowest_bit, store, store_byte

_QUOTE, _BACKSLASH, _COMMA, _COLON, _ZERO, _NINE = 34, 92, 44, 58, 48, 57
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST = 123, 125, 91, 93
_MAX_DEPTH = 30  # of extra fields; deeper records are odd
_NAME_BYTES = 16  # of the longest name known here, with its quote
_MAX_KEYS = 64  # extra names open at once in one record; more make it odd


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

_ONES, _HIGHS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_QUOTES, _BACKSLASHES, _BLANKS = (np.uint64(c) * _ONES for c in (_QUOTE, _BACKSLASH, 32))

# What a byte means inside a string: 0 itself, 1 the end, 2 an escape, 3 not allowed, 4-6 lead byte of so many - 2.
_KIND = np.zeros(256, dtype=np.uint8)
_KIND[:32] = 3
_KIND[_QUOTE], _KIND[_BACKSLASH] = 1, 2
_KIND[0x80:0xC2], _KIND[0xC2:0xE0], _KIND[0xE0:0xF0], _KIND[0xF0:0xF5], _KIND[0xF5:] = 3, 4, 5, 6, 3


@compiled
def _spaces(d, i, end, newlines):
    while i < end:
        c = byte(d, i)
        if c > 32 or not (c == 32 or c == 9 or c == 13 or (c == 10 and newlines)):
            break
        i += 1
    return i


@compiled
def _hex4(d, i):
    """The value of four hex digits, or -1."""
    value = 0
    for j in range(i, i + 4):
        c = byte(d, j)
        if _ZERO <= c <= _NINE:
            value = value * 16 + c - 48
        elif 65 <= (c & 223) <= 70:
            value = value * 16 + (c & 223) - 55
        else:
            return -1
    return value


@compiled
def _escape(d, i):
    """(index after the escape whose backslash is at i, code point), or (-1, 0); surrogates only in pairs."""
    c = byte(d, i + 1)
    if c == 117:  # u
        point = _hex4(d, i + 2)
        if point < 0 or 0xDC00 <= point < 0xE000:
            return -1, 0
        if point < 0xD800 or point >= 0xE000:
            return i + 6, point
        if byte(d, i + 6) != _BACKSLASH or byte(d, i + 7) != 117:
            return -1, 0
        low = _hex4(d, i + 8)
        if low < 0xDC00 or low >= 0xE000:
            return -1, 0
        return i + 12, 0x10000 + ((point - 0xD800) << 10) + low - 0xDC00
    if c == _QUOTE or c == _BACKSLASH or c == 47:
        return i + 2, int(c)
    if c == 98:
        return i + 2, 8
    if c == 102:
        return i + 2, 12
    if c == 110:
        return i + 2, 10
    if c == 114:
        return i + 2, 13
    if c == 116:
        return i + 2, 9
    return -1, 0


@compiled
def _multibyte(d, i, length):
    """Whether a well-formed UTF-8 sequence of this length (2-4) starts at i (no overlong form, no surrogate)."""
    second = byte(d, i + 1)
    lead = byte(d, i)
    low, high = 0x80, 0xBF
    if lead == 0xE0:
        low = 0xA0
    elif lead == 0xED:
        high = 0x9F
    elif lead == 0xF0:
        low = 0x90
    elif lead == 0xF4:
        high = 0x8F
    if second < low or second > high:
        return False
    for j in range(i + 2, i + length):
        if byte(d, j) & 0xC0 != 0x80:
            return False
    return True


@compiled
def _plain(d, i, end):
    """Index of the first byte from i on that is not plain ASCII inside a string, or one before it."""
    while i + 8 <= end:
        word = load(d, i)
        quotes, backslashes = word ^ _QUOTES, word ^ _BACKSLASHES
        special = ((quotes - _ONES) & ~quotes) | ((backslashes - _ONES) & ~backslashes) | ((word - _BLANKS) & ~word)
        special = (special | word) & _HIGHS
        if special:
            return i + (lowest_bit(special) >> 3)
        i += 8
    return i


@compiled
def _string(d, i, end):
    """(index of the closing quote of the string that begins at i, whether it has escapes), or (-1, _)."""
    escaped = False
    while True:
        i = _plain(d, i, end)
        kind = _KIND[byte(d, i)]
        if kind == 0:
            i += 1
        elif kind == 1:
            return i, escaped
        elif kind == 2:
            i, _ = _escape(d, i)
            if i < 0:
                return -1, escaped
            escaped = True
        elif kind == 3 or not _multibyte(d, i, kind - 2):
            return -1, escaped
        else:
            i += kind - 2


@compiled
def _unescape(d, i, stop, out, w):
    """Writes the string at i to stop (valid) to out from w on with its escapes resolved; returns the new w."""
    while i < stop:
        if byte(d, i) != _BACKSLASH:
            store_byte(out, w, byte(d, i))
            w += 1
            i += 1
            continue
        i, point = _escape(d, i)
        if point < 0x80:
            store_byte(out, w, point)
            w += 1
            continue
        length = 2 if point < 0x800 else 3 if point < 0x10000 else 4
        for k in range(length - 1, 0, -1):
            store_byte(out, w + k, 0x80 | (point & 0x3F))
            point >>= 6
        store_byte(out, w, ((0xF00 >> length) & 0xFF) | point)
        w += length
    return w


@compiled
def _digits(d, i):
    """Index after one or more digits at i, or -1."""
    if not _ZERO <= byte(d, i) <= _NINE:
        return -1
    while _ZERO <= byte(d, i) <= _NINE:
        i += 1
    return i


@compiled
def _number(d, i):
    """Index after the JSON number at i, or -1."""
    if byte(d, i) == 45:  # -
        i += 1
    if byte(d, i) == _ZERO:
        i += 1
    else:
        i = _digits(d, i)
    if i > 0 and byte(d, i) == 46:  # .
        i = _digits(d, i + 1)
    if i > 0 and (byte(d, i) | 32) == 101:  # e
        i += 1
        if byte(d, i) == 43 or byte(d, i) == 45:
            i += 1
        i = _digits(d, i)
    return i


@compiled
def _word(d, i, word):
    for k in range(len(word)):
        if byte(d, i + k) != word[k]:
            return -1
    return i + len(word)


_TRUE, _FALSE, _NULL = (np.frombuffer(word, dtype=np.uint8) for word in (b"true", b"false", b"null"))


@compiled
def _scalar(d, i, end):
    """Index after the string, number, true, false or null at i, or -1."""
    c = byte(d, i)
    if c == _QUOTE:
        stop, _ = _string(d, i + 1, end)
        return stop + 1 if stop > 0 else -1
    if c == 116:
        return _word(d, i, _TRUE)
    if c == 102:
        return _word(d, i, _FALSE)
    if c == 110:
        return _word(d, i, _NULL)
    return _number(d, i)


@compiled
def _name(d, i, end, newlines, names, first, count):
    """(index of the value of the member whose name's quote is at i, new count), or (-1, _).

    The name's hash is kept in names[first:count + 1], the names of this object; an equal hash makes the record odd.
    """
    if byte(d, i) != _QUOTE:
        return -1, count
    stop, escaped = _string(d, i + 1, end)
    if stop < 0 or escaped or count == _MAX_KEYS:
        return -1, count
    h = np.uint64(0xCBF29CE484222325)
    for k in range(i + 1, stop):
        h = (h ^ np.uint64(byte(d, k))) * np.uint64(0x100000001B3)
    for k in range(first, count):
        if load(names, 8 * k) == h:
            return -1, count
    store(names, 8 * count, h)
    i = _spaces(d, stop + 1, end, newlines)
    if byte(d, i) != _COLON:
        return -1, count
    return _spaces(d, i + 1, end, newlines), count + 1


@compiled
def _value(d, i, end, newlines, names, count):
    """Index after the value at i, whatever it is, or -1. names[:count] are the names of enclosing objects."""
    kinds = np.uint64(0)  # a bit a level: 1 for an object
    firsts = np.empty(_MAX_DEPTH, np.int64)
    depth = 0
    while True:
        if byte(d, i) == _OPEN or byte(d, i) == _OPEN_LIST:
            if depth == _MAX_DEPTH:
                return -1
            is_object = byte(d, i) == _OPEN
            kinds = (kinds << np.uint64(1)) | np.uint64(is_object)
            firsts[depth] = count
            depth += 1
            i = _spaces(d, i + 1, end, newlines)
            if byte(d, i) != (_CLOSE if is_object else _CLOSE_LIST):
                if is_object:
                    i, count = _name(d, i, end, newlines, names, count, count)
                    if i < 0:
                        return -1
                continue
        else:
            i = _scalar(d, i, end)
            if i < 0 or depth == 0:
                return i
            i = _spaces(d, i, end, newlines)
        while byte(d, i) == (_CLOSE if kinds & np.uint64(1) else _CLOSE_LIST):
            depth -= 1
            kinds >>= np.uint64(1)
            count = firsts[depth]
            if depth == 0:
                return i + 1
            i = _spaces(d, i + 1, end, newlines)
        if byte(d, i) != _COMMA:
            return -1
        i = _spaces(d, i + 1, end, newlines)
        if kinds & np.uint64(1):
            i, count = _name(d, i, end, newlines, names, firsts[depth - 1], count)
            if i < 0:
                return -1


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
    while _ZERO <= byte(d, i) <= _NINE and i - start < 13:
        value = value * 10 + (byte(d, i) - 48)
        i += 1
    if i == start or value >= MAX_TIMESTAMP or (byte(d, start) == _ZERO and i - start > 1):
        return -1, value
    return i, value


@compiled
def _member(d, i, end, newlines, names, count):
    """Skips a member of no interest whose name's quote is at i: (index after it, new count), or (-1, _)."""
    i, count = _name(d, i, end, newlines, names, _ZERO_INDEX, count)
    if i > 0:
        i = _value(d, i, end, newlines, names, count)
    return i, count


@compiled
def _record(d, i, end, newlines, names):
    """The event whose brace is at i: (index after it, code, timestamp, where its id starts and stops, escaped or not).

    The index is -1 where the record is odd.
    """
    seen = code = count = time = start = stop = _ZERO_INDEX
    escaped = False
    while True:
        i = _spaces(d, i + 1, end, newlines)
        if byte(d, i) != _QUOTE:
            break
        field = _match(d, i + 1, end, _ZERO_INDEX, _FIELD_COUNT)
        if field == -2:  # it may be a name that stands twice
            break
        if field < 0:
            i, count = _member(d, i, end, newlines, names, count)
        else:
            i = _spaces(d, i + 1 + np.int64(_NAMES[field, 4]), end, newlines)
            if seen & (1 << field) or byte(d, i) != _COLON:
                break
            seen |= 1 << field
            i = _spaces(d, i + 1, end, newlines)
            if field == 2:
                i, time = _timestamp(d, i)
            elif byte(d, i) != _QUOTE:
                break
            elif field == 1:
                code = _match(d, i + 1, end, _FIELD_COUNT, _NAME_COUNT)
                i = i + 1 + np.int64(_NAMES[code, 4]) if code >= 0 else -1
            else:
                start = i + 1
                stop, escaped = _string(d, start, end)
                i = stop + 1 if stop > start else -1
        if i < 0:
            break
        i = _spaces(d, i, end, newlines)
        if byte(d, i) == _CLOSE and seen == 7:
            return i + 1, code - _FIELD_COUNT, time, start, stop, escaped
        if byte(d, i) != _COMMA:
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
        if c == _QUOTE:
            i += 1
            while i < end and byte(d, i) != _QUOTE:
                i += 2 if byte(d, i) == _BACKSLASH else 1
        elif c == _OPEN or c == _OPEN_LIST:
            depth += 1
        elif c == _CLOSE or c == _CLOSE_LIST:
            depth -= 1
            if depth <= 0:
                return i + 1 if depth == 0 else i
        elif depth == 0 and i > start and (c == _COMMA or c == 32 or c == 9 or c == 10 or c == 13):
            return i
        i += 1
    return end


@compiled
def scan(data, elements, codes, times, id_ends, id_data, odd, want_ids):
    """Scans JSON Lines, or the inside of a JSON array (elements). data: uint8, ends with a newline.

    codes uint8, times int64, and with want_ids id_ends int64 and id_data uint8 take the valid events. odd, int64
    triples, takes what was not understood: its span, and how many records stand before it. Blank lines are neither.

    Returns (events, odd records, where the array lacks a comma or an element, or -1).
    """
    scratch = np.empty(_MAX_KEYS, np.uint64)
    d, names, ids, room = data.ctypes.data, scratch.ctypes.data, id_data.ctypes.data, len(id_data)
    end = len(data) - 1
    n = odds = w = i = _ZERO_INDEX
    i = _spaces(d, i, end, elements)
    while i < end or elements:
        if not elements and byte(d, i) == 10:
            i = _spaces(d, i + 1, end, elements)
            continue
        stop = -1
        if i < end and byte(d, i) == _OPEN:
            stop, code, time, id_start, id_stop, escaped = _record(d, i, end, elements, names)
            if stop > 0 and not elements:
                stop = _spaces(d, stop, end, elements)
                stop = stop if byte(d, stop) == 10 else -1
        if stop > 0:
            codes[n], times[n] = code, time
            if want_ids:
                if escaped:
                    w = _unescape(d, id_start, id_stop, ids, w)
                else:
                    w = copy(d, id_start, id_stop, end, ids, w, room)
                id_ends[n] = w
            n += 1
        else:
            stop = _element_end(d, i, end) if elements else _line_end(d, i)
            if stop <= i or (elements and byte(d, i) == _COMMA):
                return n, odds, i
            odd[odds, 0], odd[odds, 1], odd[odds, 2] = i, stop, n + odds
            odds += 1
        i = _spaces(d, stop, end, elements)
        if elements:
            if i >= end:
                break
            if byte(d, i) != _COMMA:
                return n, odds, i
            i = _spaces(d, i + 1, end, elements)
    return n, odds, -1


@compiled
def last_comma(data):
    """(index of the last comma between elements or -1, how many, index of the array's end or -1).

    data begins with an element of an array.
    """
    depth = 0
    found, count = -1, 0
    d, i, end = data.ctypes.data, 0, len(data)
    while i < end:
        c = byte(d, i)
        if c == _QUOTE:
            i += 1
            while i < end and byte(d, i) != _QUOTE:
                i += 2 if byte(d, i) == _BACKSLASH else 1
        elif c == _OPEN or c == _OPEN_LIST:
            depth += 1
        elif c == _CLOSE or c == _CLOSE_LIST:
            depth -= 1
            if depth < 0:
                return found, count, i
        elif c == _COMMA and depth == 0:
            found = i
            count += 1
        i += 1
    return found, count, -1
