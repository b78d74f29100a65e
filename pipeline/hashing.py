"""The compiled side of `ids.py`. Importing it imports numba."""

import numpy as np

from pipeline.compiling import compiled
from pipeline.scanner import copy
from pipeline.words import byte, load

_K1, _K2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@compiled
def _tail(d, i, stop, size):
    """The last 1 to 7 bytes before stop as a word; size: bytes that may be read."""
    count = stop - i
    if i + 8 <= size:
        return load(d, i) & (_ALL >> np.uint64(64 - 8 * count))
    word = np.uint64(0)
    for k in range(count):
        word |= np.uint64(byte(d, i + k)) << np.uint64(8 * k)
    return word


@compiled
def hash_ids(ends, data):
    """uint64 hashes of packed ids, equal to `ids.hash_id`."""
    hashes = np.empty(len(ends), np.uint64)
    d, size = data.ctypes.data, len(data)
    i = 0
    for k in range(len(ends)):
        stop = ends[k]
        h = np.uint64(stop - i) * _K1
        while i < stop:
            word = load(d, i) if i + 8 <= stop else _tail(d, i, stop, size)
            h = (h ^ word) * _K2
            h ^= h >> np.uint64(29)
            i += 8
        i = stop
        h = (h ^ (h >> np.uint64(32))) * _K1
        hashes[k] = h ^ (h >> np.uint64(32))
    return hashes


@compiled
def _equal(d, i, j, size):
    for k in range(size):
        if byte(d, i + k) != byte(d, j + k):
            return False
    return True


@compiled
def gather(ends, data, hashes, order):
    """The ids in the given order (ascending hashes) without repeats.

    Returns (ends, data, indices of the kept ids, whether different ids share a hash: then the rest is not valid).
    """
    out_ends = np.empty(len(ends), np.int64)
    out_data = np.empty(len(data), np.uint8)
    kept = np.empty(len(ends), np.int64)
    d, out, room = data.ctypes.data, out_data.ctypes.data, len(data)
    n = w = np.int64(0)
    last = np.int64(-1)  # where the id that was kept last starts
    for k in range(len(order)):
        item = order[k]
        start = ends[item - 1] if item > 0 else 0
        size = ends[item] - start
        if n > 0 and hashes[kept[n - 1]] == hashes[item]:
            if ends[kept[n - 1]] - last != size or not _equal(d, last, start, size):
                return out_ends[:0], out_data[:0], kept[:0], True
            continue
        w = copy(d, start, ends[item], room, out, w, room)
        last = start
        out_ends[n] = w
        kept[n] = item
        n += 1
    return out_ends[:n], out_data[:w], kept[:n], False
