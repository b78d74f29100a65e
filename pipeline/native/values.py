"""Finds the ends of strict JSON numbers and literals (RFC 8259), and parses timestamps; compiled.

d: the address of bytes that end with a newline; i: an index; end: the index to stop at.
"""

from typing import Any

import numpy as np

from pipeline.native.compiler import compiled
from pipeline.native.memory import LANES, byte, load, lowest_bit, other_than_digits
from pipeline.schema import MAX_TIMESTAMP

COMMA, COLON, ZERO, NINE = 44, 58, 48, 57
OPEN, CLOSE, OPEN_LIST, CLOSE_LIST = 123, 125, 91, 93


@compiled
def skip_spaces(d, i, end, newlines):
    """Returns the index of the first byte at or after i that is not white space. newlines: whether they are."""
    while i < end:
        c = byte(d, i)
        if c > 32 or not (c == 32 or c == 9 or c == 13 or (c == 10 and newlines)):
            break
        i += 1
    return i


@compiled
def _digits(d, i):
    """Returns the index after one or more digits at i, or -1."""
    if not ZERO <= byte(d, i) <= NINE:
        return -1
    while ZERO <= byte(d, i) <= NINE:
        i += 1
    return i


@compiled
def _number(d, i):
    """Returns the index after the JSON number at i, or -1."""
    if byte(d, i) == 45:  # -
        i += 1
    if byte(d, i) == ZERO:
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
    """Returns the index after the word at i, or -1. word: its bytes as a little-endian number."""
    while word > 0:
        if byte(d, i) != word & 255:
            return -1
        word >>= 8
        i += 1
    return i


_TRUE, _FALSE, _NULL = (np.int64(int.from_bytes(word, "little")) for word in (b"true", b"false", b"null"))


@compiled
def after_literal(d, i):
    """Returns the index after true, false or null at i, or -1."""
    c = byte(d, i)
    return _word(d, i, _TRUE if c == 116 else _FALSE if c == 102 else _NULL)


@compiled
def after_number(d, i, end):
    """Returns the index after the JSON number at i, or -1. Finds digits by SIMD: lengths are unpredictable."""
    digits = i + (byte(d, i) == 45)  # -
    others = other_than_digits(d, digits) if digits + LANES <= end else _NONE
    if not others:
        return _number(d, i)
    size = lowest_bit(others)
    if size == 0 or (size > 1 and byte(d, digits) == ZERO):
        return np.int64(-1)
    if byte(d, digits + size) == 46:  # .
        others &= others - _ONE
        point, size = size, lowest_bit(others) if others else size
        if size <= point + 1:
            return _number(d, i)
    return digits + size if byte(d, digits + size) | 32 != 101 else _number(d, i)  # e


def _each(*parts: int) -> Any:
    """Returns a word of lanes of equal size, the first one lowest."""
    bits = 64 // len(parts)
    return np.uint64(sum(part << bits * k for k, part in enumerate(parts)))


_DIGITS, _ABOVE, _HIGHS = (_each(*[code] * 8) for code in (ZERO, 127 - NINE, 128))
_PAIRS = _each(255, 255)
_NONE, _ONE = np.uint64(0), np.uint64(1)
_FIRST, _SECOND = _each(100, 10**6), _each(1, 10**4)


@compiled
def _eight_digits(d, i):
    """Returns the number of eight digits at i, or -1 if one is not a digit.

    Combines digits in a 64-bit word: pairs, fours, eight (as simdjson's parse_eight_digits_unrolled).
    """
    word = load(d, i)
    digits = word - _DIGITS
    if (digits | (word + _ABOVE)) & _HIGHS:
        return np.int64(-1)
    pairs = digits * np.uint64(10) + (digits >> np.uint64(8))  # in every second byte
    fours = (pairs & _PAIRS) * _FIRST + ((pairs >> np.uint64(16)) & _PAIRS) * _SECOND
    return np.int64(fours >> np.uint64(32))


@compiled
def parse_timestamp(d, i, end):
    """Returns (index after the timestamp at i, its value), or (-1, _) if it is not an integer or out of range."""
    start = i
    value = _eight_digits(d, i) if i + 10 <= end else np.int64(-1)
    if value >= 0:
        i += 8
        if ZERO <= byte(d, i) <= NINE and ZERO <= byte(d, i + 1) <= NINE:  # of 2001 or later
            value = value * 100 + np.int64(byte(d, i)) * 10 + np.int64(byte(d, i + 1)) - 11 * ZERO
            i += 2
    value = max(value, np.int64(0))
    while ZERO <= byte(d, i) <= NINE and i - start < 13:
        value = value * 10 + (byte(d, i) - 48)
        i += 1
    if i == start or value >= MAX_TIMESTAMP or (byte(d, start) == ZERO and i - start > 1):
        return -1, value
    return i, value
