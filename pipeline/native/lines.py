"""Counts lines that are not blank, 64 bytes at a time; compiled. Imports numba."""

import numpy as np

from pipeline.native.compiler import compiled
from pipeline.native.memory import WORD, byte, equal_bytes, low_bytes, lowest_bit, ones

_ONE = np.uint64(1)


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
