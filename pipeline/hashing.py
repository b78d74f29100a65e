"""The compiled side of `ids.py`. Importing it imports numba; see `scanner.py` for how compiled code is cached."""

import numpy as np

from pipeline.scanner import compiled

_K1, _K2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


@compiled
def hash_ids(ends, data):
    """uint64 hashes of packed ids, equal to `ids.hash_id`."""
    hashes = np.empty(len(ends), np.uint64)
    start = 0
    for k in range(len(ends)):
        stop = ends[k]
        h = np.uint64(stop - start) * _K1
        i = start
        while i < stop:
            word = np.uint64(0)
            for j in range(min(8, stop - i)):
                word |= np.uint64(data[i + j]) << np.uint64(8 * j)
            h = (h ^ word) * _K2
            h ^= h >> np.uint64(29)
            i += 8
        h = (h ^ (h >> np.uint64(32))) * _K1
        hashes[k] = h ^ (h >> np.uint64(32))
        start = stop
    return hashes


@compiled
def gather(ends, data, hashes, order):
    """The ids in the given order (ascending hashes) without repeats.

    Returns (ends, data, indices of the kept ids, whether different ids share a hash: then the rest is not valid).
    """
    out_ends = np.empty(len(ends), np.int64)
    out_data = np.empty(len(data), np.uint8)
    kept = np.empty(len(ends), np.int64)
    n = w = 0
    for k in range(len(order)):
        item = order[k]
        start = ends[item - 1] if item > 0 else 0
        size = ends[item] - start
        if n > 0 and hashes[kept[n - 1]] == hashes[item]:
            last = out_ends[n - 2] if n > 1 else 0
            same = w - last == size
            j = 0
            while same and j < size:
                same = out_data[last + j] == data[start + j]
                j += 1
            if not same:
                return out_ends[:0], out_data[:0], kept[:0], True
            continue
        for j in range(size):
            out_data[w + j] = data[start + j]
        w += size
        out_ends[n] = w
        kept[n] = item
        n += 1
    return out_ends[:n], out_data[:w], kept[:n], False
