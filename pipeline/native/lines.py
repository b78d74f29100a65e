"""Counts lines without looking into them, 64 bytes at a time. Called through `loader.py`; importing imports numba."""

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
def count_lines(d, size):
    """How many lines at d are not blank; the last of its bytes is a newline."""
    count = i = np.int64(0)
    before = _ONE  # whether the byte before i is low, as if a newline stood before the first line
    while i + WORD <= size:
        ends, low = equal_bytes(d, i, 10, 0), low_bytes(d, i)
        doubtful = ends & ((low << _ONE) | before)
        count += ones(ends ^ doubtful)
        while doubtful:
            count += _has_text(d, i + lowest_bit(doubtful))
            doubtful &= doubtful - _ONE
        before = low >> np.uint64(WORD - 1)
        i += WORD
    while i < size:
        if byte(d, i) == 10:
            count += _has_text(d, i)
        i += 1
    return count
