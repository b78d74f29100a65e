"""Ids as bytes: hashed, compared, copied, packed. Compiled code, for `id_sets.py`; importing it imports numba.

Packed ids: each id's length as a varint (7 bits a byte, the lowest first), then its bytes.
"""

import numpy as np

from pipeline.native.compiler import compiled
from pipeline.native.memory import byte, load, store, store_byte

_K1, _K2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


@compiled
def _few(d, i, count):
    """At most 7 bytes as a word."""
    word = np.uint64(0)
    for k in range(count):
        word |= np.uint64(byte(d, i + k)) << np.uint64(8 * k)
    return word


@compiled
def hash_bytes(d, start, stop):
    """The hash of the id from start to stop, equal to `ids.hash_id`."""
    h, i = np.uint64(stop - start) * _K1, start
    while i < stop:
        if i + 8 <= stop:
            word = load(d, i)
        elif stop - start < 8:
            word = _few(d, i, stop - i)
        else:  # of the last 8 bytes those that were not yet read
            word = load(d, stop - 8) >> np.uint64(8 * (i + 8 - stop))
        h = (h ^ word) * _K2
        h ^= h >> np.uint64(29)
        i += 8
    h = (h ^ (h >> np.uint64(32))) * _K1
    return h ^ (h >> np.uint64(32))


@compiled
def equal(d, i, j, size):
    """Whether size bytes from i and from j on are the same."""
    if size < 8:
        return _few(d, i, size) == _few(d, j, size)
    for k in range(0, size - 7, 8):
        if load(d, i + k) != load(d, j + k):
            return False
    return load(d, i + size - 8) == load(d, j + size - 8)


@compiled
def copy(d, start, stop, out, w):
    """Copies bytes to out, from w on; returns the new w. Nothing behind that is written."""
    end = w + stop - start
    if stop - start < 8:
        for k in range(stop - start):
            store_byte(out, w + k, byte(d, start + k))
        return end
    for k in range(0, stop - start - 7, 8):
        store(out, w + k, load(d, start + k))
    store(out, end - 8, load(d, stop - 8))
    return end


@compiled
def span(ends, k):
    """Where id k starts and stops."""
    return np.int64(load(ends, 8 * k - 8)) if k > 0 else np.int64(0), np.int64(load(ends, 8 * k))


@compiled
def pack(d, start, stop, out, w):
    """Writes an id with its length; returns the new w."""
    length = stop - start
    while length > 127:
        store_byte(out, w, (length & 127) | 128)
        length >>= 7
        w += 1
    store_byte(out, w, length)
    return copy(d, start, stop, out, w + 1)


@compiled
def unpack(d, i):
    """Where the packed id at i starts and stops."""
    length = bits = np.int64(0)
    while byte(d, i) > 127:
        length |= (np.int64(byte(d, i)) & 127) << bits
        bits += 7
        i += 1
    return i + 1, i + 1 + (length | (np.int64(byte(d, i)) << bits))
