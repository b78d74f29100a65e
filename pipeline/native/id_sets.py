"""The compiled side of `model/ids.py`: sets of ids by hash. Called through `loader.py`; importing it imports numba.

Packed ids: each id's length as a varint (7 bits a byte, the lowest first), then its bytes.
"""

import numpy as np

from pipeline.native.compiler import compiled
from pipeline.native.memory import byte, load, store, store_byte
from pipeline.native.scanner import copy

_K1, _K2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_PROBES = 32  # in a table; ids whose hashes were made equal on purpose must not make it slow


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
def _hash(d, i, stop, size):
    """The hash of the id from i to stop, equal to `ids.hash_id`."""
    h = np.uint64(stop - i) * _K1
    while i < stop:
        word = load(d, i) if i + 8 <= stop else _tail(d, i, stop, size)
        h = (h ^ word) * _K2
        h ^= h >> np.uint64(29)
        i += 8
    h = (h ^ (h >> np.uint64(32))) * _K1
    return h ^ (h >> np.uint64(32))


@compiled
def _equal(d, i, j, size):
    for k in range(size):
        if byte(d, i + k) != byte(d, j + k):
            return False
    return True


@compiled
def _span(ends, k):
    """Where id k starts and stops."""
    return np.int64(load(ends, 8 * k - 8)) if k > 0 else np.int64(0), np.int64(load(ends, 8 * k))


@compiled
def _is_new(d, ends, hashes, k, table, mask):
    """Puts id k into a hash table of indices + 1; False where an equal id is there already."""
    h = load(hashes, 8 * k)
    start, stop = _span(ends, k)
    slot = np.int64(h) & mask
    for _ in range(_PROBES):
        other = np.int64(load(table, 8 * slot)) - 1
        if other < 0:
            store(table, 8 * slot, k + 1)
            return True
        if load(hashes, 8 * other) == h:
            first, last = _span(ends, other)
            if last - first == stop - start and _equal(d, first, start, stop - start):
                return False
        slot = (slot + 1) & mask
    return True


@compiled
def mark_ids(d, size, ends, count, shift, hashes, table, mask, kept, sizes):
    """Hashes ids, and marks in kept (uint8) one of each; sizes (int64) takes the packed bytes a partition.

    An id's partition is its hash >> shift. table: mask + 1 zeros (int64), a power of two and more than count. An id may
    be kept more than once, where many have the same hash. Returns 0.
    """
    for k in range(count):
        start, stop = _span(ends, k)
        h = _hash(d, start, stop, size)
        store(hashes, 8 * k, h)
        new = _is_new(d, ends, hashes, k, table, mask)
        store_byte(kept, k, new)
        if new:
            packed = stop - start + 1
            length = (stop - start) >> 7
            while length > 0:
                packed += 1
                length >>= 7
            at = np.int64(8 * (h >> np.uint64(shift)))
            store(sizes, at, np.int64(load(sizes, at)) + packed)
    return 0


@compiled
def place_ids(d, size, ends, count, shift, hashes, kept, places, out):
    """Packs the kept ids into out; places (int64): where each partition's begin, and after it where they end."""
    for k in range(count):
        if byte(kept, k):
            start, stop = _span(ends, k)
            at = np.int64(8 * (load(hashes, 8 * k) >> np.uint64(shift)))
            w = np.int64(load(places, at))
            length = stop - start
            while length > 127:
                store_byte(out, w, (length & 127) | 128)
                length >>= 7
                w += 1
            store_byte(out, w, length)
            w += 1
            store(places, at, copy(d, start, stop, size, out, w, w + stop - start))
    return 0


@compiled
def find_ids(d, size, starts, stops, hashes):
    """Where each of the packed ids starts and stops, and its hash; returns how many there are."""
    i = n = np.int64(0)
    while i < size:
        length = bits = np.int64(0)
        while byte(d, i) > 127:
            length |= (np.int64(byte(d, i)) & 127) << bits
            bits += 7
            i += 1
        length |= np.int64(byte(d, i)) << bits
        i += 1
        store(starts, 8 * n, i)
        store(stops, 8 * n, i + length)
        store(hashes, 8 * n, _hash(d, i, i + length, size))
        i += length
        n += 1
    return n


@compiled
def gather_ids(d, size, starts, stops, hashes, order, count, ends, out, room):
    """Copies ids in the given order (ascending hashes) to out without repeats; returns how many are left.

    -1 where different ids share a hash.
    """
    n = w = last = np.int64(0)
    h = _ALL
    for k in range(count):
        item = 8 * np.int64(load(order, 8 * k))
        start, stop = np.int64(load(starts, item)), np.int64(load(stops, item))
        before, h = h, load(hashes, item)
        if n > 0 and h == before:
            first = np.int64(load(ends, 8 * n - 16)) if n > 1 else np.int64(0)
            if w - first != stop - start or not _equal(d, last, start, stop - start):
                return -1
            continue
        w = copy(d, start, stop, size, out, w, room)
        last = start
        store(ends, 8 * n, w)
        n += 1
    return n


@compiled
def join_lines(d, size, ends, count, out, room):
    """Copies ids to out with a newline behind each; returns whether one holds a line break or begins with a quote."""
    w = special = np.int64(0)
    for k in range(count):
        start, stop = _span(ends, k)
        special |= start < stop and byte(d, start) == 34
        w = copy(d, start, stop, size, out, w, room)
        store_byte(out, w, 10)
        w += 1
    for i in range(size):
        special |= (byte(d, i) == 10) | (byte(d, i) == 13)
    return special
