"""Counts lines, and finds the commas between elements of a JSON array, 64 bytes at a time; compiled. Imports numba.

Commas are where an array can be split. Only strings and brackets are tracked: invalid JSON may be split anywhere, and
decoding the blocks fails. Quotes and escapes are found by bit operations, as in the first stage of simdjson (Langdale
and Lemire, 2019).
"""

import numpy as np

from pipeline.native.compiler import compiled
from pipeline.native.memory import WORD, byte, equal_bytes, low_bytes, lowest_bit, ones, store
from pipeline.native.strings import BACKSLASH, QUOTE
from pipeline.native.values import CLOSE, COMMA, OPEN

_FOLD = OPEN ^ 91  # a bracket with this bit is a brace
_NONE, _ONE, _ALL = np.uint64(0), np.uint64(1), np.uint64(2**64 - 1)


@compiled
def _has_text(d, stop):
    """Whether the line that ends before stop is not blank."""
    i = stop - 1
    while i >= 0 and (byte(d, i) == 32 or byte(d, i) == 9 or byte(d, i) == 13):
        i -= 1
    return i >= 0 and byte(d, i) != 10


@compiled
def count_lines(d, i, stop):
    """Counts the lines of d that are not blank and whose newline is in [i, stop); i is at least 1."""
    count = np.int64(0)
    while i + WORD <= stop:
        ends = equal_bytes(d, i, 10, 0)
        doubtful = ends & low_bytes(d, i - 1)
        count += ones(ends)
        while doubtful:
            count += _has_text(d, i + lowest_bit(doubtful)) - 1
            doubtful &= doubtful - _ONE
        i += WORD
    while i < stop:
        if byte(d, i) == 10:
            count += _has_text(d, i)
        i += 1
    return count


@compiled
def _bits(d, i, end, code, fold):
    """equal_bytes limited to the bytes before end."""
    if i + WORD <= end:
        return equal_bytes(d, i, code, fold)
    found = _NONE
    for k in range(end - i):
        found |= np.uint64((byte(d, i + k) | fold) == code) << np.uint64(k)
    return found


@compiled
def _escaped(backslashes, first):
    """Returns (mask of escaped bytes, whether the first byte of the next word is escaped)."""
    escaped = first
    while backslashes:
        at = np.uint64(lowest_bit(backslashes))
        backslashes &= backslashes - _ONE
        if not (escaped >> at) & _ONE:
            if at == np.uint64(WORD - 1):
                return escaped, _ONE
            escaped |= _ONE << (at + _ONE)
    return escaped, _NONE


@compiled
def _inside(quotes, before):
    """Returns a mask of the bytes in strings, with opening quotes. before: all bits if a string is open, else none.

    Each bit becomes the parity of the quotes up to it (a prefix XOR).
    """
    for shift in (1, 2, 4, 8, 16, 32):
        quotes ^= quotes << np.uint64(shift)
    return quotes ^ before


@compiled
def _highest(word):
    """Returns the index of the highest set bit of a nonzero word."""
    at = np.int64(0)
    while word > _ONE:
        word >>= _ONE
        at += 1
    return at


@compiled
def last_comma(d, end, found):
    """Returns the index of the last comma between elements, or -1; d begins with an element and has end bytes.

    found, two int64, is set to the number of such commas, and the index of the array's end or -1.
    """
    depth = i = count = at = np.int64(0)
    last, inside, escape = _NONE, _NONE, _NONE  # last: of the word at index `at`, the commas that were counted
    array_end = np.int64(-1)
    while i < end and array_end < 0:
        quotes, backslashes = _bits(d, i, end, QUOTE, 0), _bits(d, i, end, BACKSLASH, 0)
        if backslashes | escape:
            escaped, escape = _escaped(backslashes, escape)
            quotes &= ~escaped
        strings = _inside(quotes, inside)
        inside = _ALL if strings >> np.uint64(WORD - 1) else _NONE
        commas = _bits(d, i, end, COMMA, 0) & ~strings
        opening = _bits(d, i, end, OPEN, _FOLD) & ~strings
        brackets = opening | (_bits(d, i, end, CLOSE, _FOLD) & ~strings)
        between = _NONE
        while brackets:
            bracket = brackets & -brackets
            if depth == 0:
                between |= commas & (bracket - _ONE)
            commas &= ~(bracket - _ONE)
            depth += 1 if opening & bracket else -1
            if depth < 0:
                array_end = i + lowest_bit(bracket)
                break
            brackets ^= bracket
        if depth == 0:
            between |= commas
        if between:
            count += ones(between)
            last, at = between, i
        i += WORD
    store(found, 0, count)
    store(found, 8, array_end)
    return at + _highest(last) if last else np.int64(-1)
