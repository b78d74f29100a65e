"""Finds the ends of strict JSON strings (RFC 8259, UTF-8, paired surrogates), and unescapes them; compiled.

d: the address of bytes that end with a newline; i: an index; end: the index to stop at.
"""

import numpy as np

from pipeline.native.compiler import compiled
from pipeline.native.memory import LANES, byte, lowest_bit, special_bytes, store_byte

QUOTE, BACKSLASH = 34, 92

# Kind of a byte in a string: 0 a character, 1 the end, 2 an escape, 3 invalid, 4-6 the first of 2-4 bytes.
_KIND = np.zeros(256, dtype=np.uint8)
_KIND[:32] = 3
_KIND[QUOTE], _KIND[BACKSLASH] = 1, 2
_KIND[0x80:0xC2], _KIND[0xC2:0xE0], _KIND[0xE0:0xF0], _KIND[0xF0:0xF5], _KIND[0xF5:] = 3, 4, 5, 6, 3


@compiled
def _hex4(d, i):
    """Returns the value of four hex digits, or -1."""
    value = 0
    for j in range(i, i + 4):
        c = byte(d, j)
        if 48 <= c <= 57:
            value = value * 16 + c - 48
        elif 65 <= (c & 223) <= 70:
            value = value * 16 + (c & 223) - 55
        else:
            return -1
    return value


@compiled
def _escape(d, i):
    """Returns (index after the escape at i, code point), or (-1, 0); surrogates only in pairs."""
    c = byte(d, i + 1)
    if c == 117:  # u
        point = _hex4(d, i + 2)
        if point < 0 or 0xDC00 <= point < 0xE000:
            return -1, 0
        if point < 0xD800 or point >= 0xE000:
            return i + 6, point
        if byte(d, i + 6) != BACKSLASH or byte(d, i + 7) != 117:
            return -1, 0
        low = _hex4(d, i + 8)
        if low < 0xDC00 or low >= 0xE000:
            return -1, 0
        return i + 12, 0x10000 + ((point - 0xD800) << 10) + low - 0xDC00
    if c == QUOTE or c == BACKSLASH or c == 47:
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
def plain_end(d, i, end):
    """Returns the index of the first byte at or after i that is not plain, or of an earlier one within LANES of end."""
    while i + LANES <= end:
        found = special_bytes(d, i)
        if found:
            return i + lowest_bit(found)
        i += LANES
    return i


@compiled
def string_end(d, i, end):
    """Returns (index of the closing quote of the string with text at i, whether it has escapes), or (-1, _)."""
    escaped = False
    while True:
        i = plain_end(d, i, end)
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
def after_string(d, i, end):
    """Returns the index after the string with text at i, or -1."""
    i = plain_end(d, i, end)
    if byte(d, i) != QUOTE:
        i, _ = string_end(d, i, end)
    return i + 1 if i >= 0 else np.int64(-1)


@compiled
def unescape(d, i, stop, out, w):
    """Unescapes the valid string from i to stop to out at w; returns the new w."""
    while i < stop:
        if byte(d, i) != BACKSLASH:
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
def skip_string(d, i, end):
    """Returns the index after the possibly invalid string with its opening quote at i; at least end if unclosed."""
    i = plain_end(d, i + 1, end)
    while i < end and byte(d, i) != QUOTE:
        i = plain_end(d, i + (2 if byte(d, i) == BACKSLASH else 1), end)
    return i + 1
