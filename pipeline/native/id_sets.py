"""Hashes, sorts and copies ids; compiled code for `model/ids.py`. Imports numba."""

import numpy as np

from pipeline.native.compiler import compiled
from pipeline.native.loader import MAX_PROBES
from pipeline.native.memory import WORD, byte, copy, equal_bytes, load, store, store_byte

_K1, _K2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


@compiled
def _few(d, i, count):
    """Loads at most 7 bytes as a word."""
    word = np.uint64(0)
    for k in range(count):
        word |= np.uint64(byte(d, i + k)) << np.uint64(8 * k)
    return word


@compiled
def _hash(d, start, stop):
    """The hash of the id from start to stop, equal to `ids.hash_id`."""
    h, i = np.uint64(stop - start) * _K1, start
    while i < stop:
        if i + 8 <= stop:
            word = load(d, i)
        elif stop - start < 8:
            word = _few(d, i, stop - i)
        else:  # the unread ones of the last 8 bytes
            word = load(d, stop - 8) >> np.uint64(8 * (i + 8 - stop))
        h = (h ^ word) * _K2
        h ^= h >> np.uint64(29)
        i += 8
    h = (h ^ (h >> np.uint64(32))) * _K1
    return h ^ (h >> np.uint64(32))


@compiled
def _equal(d, i, j, size):
    """Whether size bytes at i and at j are equal."""
    if size < 8:
        return _few(d, i, size) == _few(d, j, size)
    for k in range(0, size - 7, 8):
        if load(d, i + k) != load(d, j + k):
            return False
    return load(d, i + size - 8) == load(d, j + size - 8)


@compiled
def _span(ends, k):
    """Returns the start and stop of id k."""
    return np.int64(load(ends, 8 * k - 8)) if k > 0 else np.int64(0), np.int64(load(ends, 8 * k))


@compiled
def hash_ids(d, ends, count, hashes):
    """Hashes ids. Returns 0."""
    for k in range(count):
        start, stop = _span(ends, k)
        store(hashes, 8 * k, _hash(d, start, stop))
    return 0


@compiled
def _add(d, ends, k, h, table, home):
    """Inserts an id into the first free slot at or after home. Returns False if there is none within MAX_PROBES."""
    start, stop = _span(ends, k)
    for slot in range(home, home + 16 * MAX_PROBES, 16):
        other = np.int64(load(table, slot + 8)) - 1
        if other < 0:
            store(table, slot, h)
            store(table, slot + 8, k + 1)
            return True
        if load(table, slot) == h:
            first, last = _span(ends, other)
            if last - first == stop - start and _equal(d, first, start, stop - start):
                return True
    return False


@compiled
def _to_front(table, slots):
    """Moves the ids of a table to its first slots; returns their number."""
    w = np.int64(0)
    for at in range(0, 16 * slots, 16):  # branch-free: a branch would be mispredicted half the time
        number = load(table, at + 8)
        store(table, w, load(table, at))
        store(table, w + 8, number)
        w += 16 * np.int64(number != 0)
    return w >> 4


@compiled
def _is_after(d, ends, one, other):
    """Whether an id is greater than a different one, by bytes."""
    i, i_end = _span(ends, one)
    j, j_end = _span(ends, other)
    while i < i_end and j < j_end and byte(d, i) == byte(d, j):
        i += 1
        j += 1
    return j == j_end or (i < i_end and byte(d, i) > byte(d, j))


@compiled
def _sort(d, ends, table, count):
    """Insertion sort by (hash, bytes): each id moves by at most MAX_PROBES slots."""
    for at in range(16, 16 * count, 16):
        h, w = load(table, at), at
        if load(table, at - 16) < h:
            continue
        number = np.int64(load(table, at + 8))
        while w > 0 and load(table, w - 16) >= h:
            other = np.int64(load(table, w - 8))
            if load(table, w - 16) == h and not _is_after(d, ends, other - 1, number - 1):
                break
            store(table, w, load(table, w - 16))
            store(table, w + 8, other)
            w -= 16
        store(table, w, h)
        store(table, w + 8, number)


@compiled
def sort_ids(d, ends, count, hashes, lowest, shift, table, slots, overflow):
    """Sorts the distinct ids by (hash, bytes) at the front of a table; returns their number.

    table: slots of two int64, initially 0: an id's hash and its index + 1. An id's slot is (hash - lowest) >> shift, or
    one of the next MAX_PROBES. If all are taken, its index goes to overflow (int64), even if an equal id is in the
    table; the first word of overflow is the number of these indices.
    """
    overflow_count = np.int64(0)
    for k in range(count):
        h = load(hashes, 8 * k)
        if not _add(d, ends, k, h, table, 16 * np.int64((h - np.uint64(lowest)) >> np.uint64(shift))):
            overflow_count += 1
            store(overflow, 8 * overflow_count, k)
    store(overflow, 0, overflow_count)
    found = _to_front(table, slots)
    _sort(d, ends, table, found)
    return found


@compiled
def take_ids(d, ends, order, count, out):
    """Copies the ids at count indices to out, in this order; returns their size in bytes."""
    w = np.int64(0)
    for k in range(count):
        start, stop = _span(ends, np.int64(load(order, 8 * k)))
        w = copy(d, start, stop, out, w)
    return w


@compiled
def join_lines(d, size, ends, count, out):
    """Copies ids to out as lines; returns whether one contains a line break or begins with a quote."""
    w = special = np.int64(0)
    for k in range(count):
        start, stop = _span(ends, k)
        special |= start < stop and byte(d, start) == 34
        w = copy(d, start, stop, out, w)
        store_byte(out, w, 10)
        w += 1
    whole = size - size % WORD
    for i in range(0, whole, WORD):
        special |= (equal_bytes(d, i, 10, 0) | equal_bytes(d, i, 13, 0)) != 0
    for i in range(whole, size):
        special |= (byte(d, i) == 10) | (byte(d, i) == 13)
    return special
