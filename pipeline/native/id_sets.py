"""The compiled side of `model/ids.py`: sets of ids by hash. Called through `loader.py`; importing it imports numba.

Packed ids are as `id_bytes.py` has them.
"""

import numpy as np

from pipeline.native.compiler import compiled
from pipeline.native.id_bytes import copy, equal, hash_bytes, pack, span, unpack
from pipeline.native.loader import PROBES, SOME
from pipeline.native.memory import WORD, byte, equal_bytes, load, store, store_byte


@compiled
def _is_new(d, ends, hashes, k, table, mask):
    """Puts id k into a hash table of indices + 1; False where an equal id is there already."""
    h = load(hashes, 8 * k)
    start, stop = span(ends, k)
    slot = np.int64(h) & mask
    for _ in range(PROBES):
        other = np.int64(load(table, 8 * slot)) - 1
        if other < 0:
            store(table, 8 * slot, k + 1)
            return True
        if load(hashes, 8 * other) == h:
            first, last = span(ends, other)
            if last - first == stop - start and equal(d, first, start, stop - start):
                return False
        slot = (slot + 1) & mask
    return True


@compiled
def _partition(h, shift):
    """h >> shift, which may be 64."""
    return np.int64((h >> np.uint64(1)) >> np.uint64(shift - 1))


@compiled
def mark_ids(d, ends, count, shift, hashes, table, mask, kept, frames):
    """Hashes ids, and marks in kept (uint8) one of each.

    frames (int64) takes two numbers for each partition: how many ids came, and packed bytes of those kept. An id's
    partition is its hash >> shift. table: mask + 1 zeros (int64), a power of two and more than count. An id may be kept
    more than once, where many have the same hash. Returns 0.
    """
    for k in range(count):
        start, stop = span(ends, k)
        h = hash_bytes(d, start, stop)
        store(hashes, 8 * k, h)
        new = _is_new(d, ends, hashes, k, table, mask)
        store_byte(kept, k, new)
        at = 16 * _partition(h, shift)
        store(frames, at, np.int64(load(frames, at)) + 1)
        if new:
            packed = stop - start + 1
            length = (stop - start) >> 7
            while length > 0:
                packed += 1
                length >>= 7
            store(frames, at + 8, np.int64(load(frames, at + 8)) + packed)
    return 0


@compiled
def place_ids(d, ends, count, shift, hashes, kept, places, out):
    """Packs the kept ids into out; places (int64): where each partition's begin, and after it where they end."""
    for k in range(count):
        if byte(kept, k):
            start, stop = span(ends, k)
            at = 8 * _partition(load(hashes, 8 * k), shift)
            store(places, at, pack(d, start, stop, out, np.int64(load(places, at))))
    return 0


@compiled
def pack_ids(d, ends, count, out):
    """Packs all ids into out; returns how many bytes that are."""
    w = np.int64(0)
    for k in range(count):
        start, stop = span(ends, k)
        w = pack(d, start, stop, out, w)
    return w


@compiled
def take_ids(d, ends, order, count, out):
    """Copies the ids at so many places, in this order, to out; returns how many bytes that are."""
    w = np.int64(0)
    for k in range(count):
        start, stop = span(ends, np.int64(load(order, 8 * k)))
        w = copy(d, start, stop, out, w)
    return w


@compiled
def _home(h, skip, bits):
    """Where in a table of 2**bits slots an id belongs: in the order of hashes whose first bits (skip) are the same."""
    return np.int64((h << np.uint64(skip)) >> np.uint64(64 - bits)) * 16


@compiled
def _free(table, at):
    """The first free slot from this one on, or -1 where there is none near."""
    for slot in range(at, at + 16 * PROBES, 16):
        if load(table, slot + 8) == 0:
            return slot
    return -1


@compiled
def _found(d, size, start, stop, h, table, at):
    """The slot of the packed id from start to stop, or a free one for it; -1 where there is neither near."""
    for slot in range(at, at + 16 * PROBES, 16):
        other = np.int64(load(table, slot + 8))
        if other == 0:
            return slot
        # It may be behind this one, and shorter, when a table was full and some are added once more.
        if load(table, slot) == h and other + stop - start <= size + 1 and equal(d, other - 1, start, stop - start):
            return slot
    return -1


@compiled
def _read_some(d, size, state, table, skip, bits, some):
    """Reads some packed ids: where each starts and stops, its hash. Touches their slots, so that they come at once."""
    i, end = np.int64(load(state, 0)), np.int64(load(state, 8))
    n = np.int64(0)
    while n < SOME and i < size:
        if i == end:
            store(state, 16, load(state, 16) + load(d, i))
            end = i + 16 + np.int64(load(d, i + 8))
            i += 16
            continue
        start, stop = unpack(d, i)
        h = hash_bytes(d, start, stop)
        at = 32 * n
        store(some, at, i)
        store(some, at + 8, stop)
        store(some, at + 16, h)
        store(some, at + 24, load(table, _home(h, skip, bits)))
        i = stop
        n += 1
    store(state, 0, i)
    store(state, 8, end)
    return n


@compiled
def add_ids(d, size, state, table, skip, bits, some, aside):
    """Puts the ids of counted pieces into a table, until all are there (1) or the table is full (0).

    A full table puts an id aside instead, where aside is not 0 but the address of int64: how many there are, and where
    each is. Then equal ones are put aside too, as often as they come.

    state (5 int64, at first 0): the next byte, where its piece ends; how many ids came, how many are different, their
    packed bytes. table: 2**bits + PROBES slots of two int64, at first 0: an id's hash, where it is + 1. skip: how many
    first bits are the same in all hashes. some: SOME times 4 int64, whatever they are.
    """
    while np.int64(load(state, 0)) < size:
        i, end, came = load(state, 0), load(state, 8), load(state, 16)
        for at in range(0, 32 * _read_some(d, size, state, table, skip, bits, some), 32):
            start, stop, h = np.int64(load(some, at)), np.int64(load(some, at + 8)), load(some, at + 16)
            slot = _found(d, size, start, stop, h, table, _home(h, skip, bits))
            if slot < 0 and aside != 0:
                count = np.int64(load(aside, 0)) + 1
                store(aside, 0, count)
                store(aside, 8 * count, start)
            elif slot < 0:
                store(state, 0, i)
                store(state, 8, end)
                store(state, 16, came)
                return 0
            elif load(table, slot + 8) == 0:
                store(table, slot, h)
                store(table, slot + 8, start + 1)
                store(state, 24, load(state, 24) + np.uint64(1))
                store(state, 32, np.int64(load(state, 32)) + stop - start)
    return 1


@compiled
def move_ids(table, slots, wider, skip, bits):
    """Puts the ids of a table into a wider one; returns whether they have place there."""
    for at in range(0, 16 * slots, 16):
        if load(table, at + 8) != 0:
            h = load(table, at)
            slot = _free(wider, _home(h, skip, bits))
            if slot < 0:
                return 0
            store(wider, slot, h)
            store(wider, slot + 8, load(table, at + 8))
    return 1


@compiled
def _to_front(table, slots):
    """Moves the ids of a table to its first slots; returns how many they are."""
    w = np.int64(0)
    for at in range(0, 16 * slots, 16):  # without a branch, which would be guessed wrong every other time
        where = load(table, at + 8)
        store(table, w, load(table, at))
        store(table, w + 8, where)
        w += 16 * np.int64(where != 0)
    return w >> 4


@compiled
def _is_after(d, i, j):
    """Whether the packed id at i comes after a different one at j, by their bytes."""
    i, i_end = unpack(d, i)
    j, j_end = unpack(d, j)
    while i < i_end and j < j_end:
        if byte(d, i) != byte(d, j):
            return byte(d, i) > byte(d, j)
        i += 1
        j += 1
    return j == j_end


@compiled
def _sort(d, table, count):
    """Sorts ids by their hashes, and those that share one by their bytes. Each passes at most PROBES others."""
    for at in range(16, 16 * count, 16):
        h, w = load(table, at), at
        if load(table, at - 16) < h:
            continue
        where = load(table, at + 8)
        while w > 0 and load(table, w - 16) >= h:
            other = load(table, w - 8)
            if load(table, w - 16) == h and not _is_after(d, np.int64(other) - 1, np.int64(where) - 1):
                break
            store(table, w, load(table, w - 16))
            store(table, w + 8, other)
            w -= 16
        store(table, w, h)
        store(table, w + 8, where)


@compiled
def gather_ids(d, table, slots, ends, out):
    """Copies the ids of a table to out, ordered by hash, then by bytes; returns how many bytes these are."""
    count = _to_front(table, slots)
    _sort(d, table, count)
    w = np.int64(0)
    for k in range(count):
        start, stop = unpack(d, np.int64(load(table, 16 * k + 8)) - 1)
        w = copy(d, start, stop, out, w)
        store(ends, 8 * k, w)
    return w


@compiled
def join_lines(d, size, ends, count, out):
    """Copies ids to out with a newline behind each; returns whether one holds a line break or begins with a quote."""
    w = special = np.int64(0)
    for k in range(count):
        start, stop = span(ends, k)
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
