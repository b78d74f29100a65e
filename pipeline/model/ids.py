"""Unique ids: split by hash and packed to be shuffled as a few large values, then merged to sorted sets.

The order of ids is by (64-bit hash, bytes): the same for every run, split and number of partitions.
"""

import bisect
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.model.events import Ids, batch_events
from pipeline.native.loader import PROBES, SOME, invoke, worth_compiling

PARTITIONS = 128
"""Ids are shuffled in so many partitions, by the first bits of their hash: of 10 M ids, 64 would outgrow the cache."""

MAX_PARTITIONS = 65536

_PARTITION_BYTES = 256 * 1024 * 1024  # of input: some 60 MB of ids to be merged at a time, if all are different

SMALL_SET = 2000
"""Ids up to which plain Python is faster than loading compiled code."""

SMALL_MERGE = 20 * SMALL_SET
"""Packed bytes up to which plain Python merges them."""

_FIRST_BITS = 18  # of a table's size at first, at most: 4 MiB, which 80,000 ids fill
_MOST_SLOTS, _FEW = 8, 32  # of a table: for each id, and for how many at least. Three for an id are the rule.

Pieces = bytes | bytearray
"""Counted pieces, joined."""

_Numbers = npt.NDArray[np.int64]
_Hashes = npt.NDArray[np.uint64]

_FRAME = struct.Struct("<QQ")  # before the packed ids of a piece: how many came, bytes of the packed ones

_LENGTH_BYTES = 6  # of a packed id at most: 2**42

_K1, _K2, _MASK = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 2**64 - 1
# _K1: 2**64 / the golden ratio, as in Knuth's multiplicative hashing; _K2: a prime of xxHash64. Words are mixed
# by multiplying and by shifted XORs, as in the finalizers of MurmurHash3 and splitmix64.


def hash_id(data: bytes) -> int:
    """A 64-bit hash of an id, the same on every machine. Compiled in `native/id_bytes.py`."""
    h = (len(data) * _K1) & _MASK
    for k in range(0, len(data), 8):
        h = ((h ^ int.from_bytes(data[k : k + 8], "little")) * _K2) & _MASK
        h ^= h >> 29
    h = ((h ^ (h >> 32)) * _K1) & _MASK
    return h ^ (h >> 32)


def partitions_for(input_bytes: int) -> int:
    """How many partitions keep each small enough to be merged in memory: a power of two."""
    needed = -(-input_bytes // _PARTITION_BYTES)
    return min(max(PARTITIONS, 1 << max(needed - 1, 0).bit_length()), MAX_PARTITIONS)


def counted_pieces(ids: Ids, partitions: int = PARTITIONS) -> Iterator[tuple[int, bytes]]:
    """Ids as (partition, piece), ascending, without empty partitions; most repeated ids are left out.

    Pieces of a partition may be joined. They say how many ids came to them, so that in the end none is missing; see
    merge_pieces. partitions: a power of two to MAX_PARTITIONS.
    """
    shift = 65 - partitions.bit_length()
    compiled = worth_compiling("mark_ids", hashing_work(ids), SMALL_SET)
    return _pieces_compiled(ids, shift) if compiled else _pieces_of_few(ids, shift)


def hashing_work(ids: Ids) -> int:
    """How much work it is to hash ids, in usual ids of some 20 bytes."""
    return max(len(ids.ends), len(ids.data) // 32)


def _pieces_of_few(ids: Ids, shift: int) -> Iterator[tuple[int, bytes]]:
    items = ids.to_list()
    numbers = {item: hash_id(item) >> shift for item in dict.fromkeys(items)}
    came = Counter(numbers[item] for item in items)
    parts: dict[int, list[bytes]] = {}
    for item, number in numbers.items():
        parts.setdefault(number, []).append(item)
    for number in sorted(parts):
        packed = pack(parts[number])
        yield number, _FRAME.pack(came[number], len(packed)) + packed


def _pieces_compiled(ids: Ids, shift: int) -> Iterator[tuple[int, bytes]]:
    hashes, kept, frames = marked(ids, shift)
    sizes = np.where(frames[:, 0], frames[:, 1] + _FRAME.size, 0)
    ends = np.cumsum(sizes)
    places, out = ends - frames[:, 1], np.empty(ends[-1], np.uint8)
    invoke("place_ids", ids.data, ids.ends, len(ids.ends), shift, hashes, kept, places, out)
    for number in np.flatnonzero(sizes).tolist():
        piece = out[ends[number] - sizes[number] : ends[number]]
        piece[: _FRAME.size] = frames[number].view(np.uint8)
        yield number, piece.tobytes()


def marked(ids: Ids, shift: int) -> tuple[_Hashes, npt.NDArray[np.uint8], _Numbers]:
    """What mark_ids finds: hashes, kept, frames."""
    count, frames = len(ids.ends), np.zeros((1 << 64 - shift, 2), np.int64)
    mask = (1 << count.bit_length() + 1) - 1
    hashes, kept, table = np.empty(count, np.uint64), np.empty(count, np.uint8), np.zeros(mask + 1, np.int64)
    invoke("mark_ids", ids.data, ids.ends, count, shift, hashes, table, mask, kept, frames)
    return hashes, kept, frames


def joined_pieces(data: Pieces, partitions: int = 1) -> bytes:
    """As merge_pieces, as one piece."""
    ids, came = merge_pieces(data, partitions)
    packed = _packed(ids)
    return _FRAME.pack(came, len(packed)) + packed


def _packed(ids: Ids) -> bytes:
    if not worth_compiling("pack_ids", len(ids.ends), SMALL_SET):
        return pack(ids.to_list())
    out = np.empty(len(ids.data) + _LENGTH_BYTES * len(ids.ends), np.uint8)
    return out[: invoke("pack_ids", ids.data, ids.ends, len(ids.ends), out)].tobytes()


def merge_pieces(data: Pieces, partitions: int = 1) -> tuple[Ids, int]:
    """The different ids of joined counted pieces, in the order of (hash, bytes); and how many ids came to these.

    All of them must be of one of so many partitions.
    """
    if worth_compiling("add_ids", len(data), SMALL_MERGE):
        return _merge_compiled(data, partitions)
    keyed = _in_order({item for _, packed in _frames(data) for item in unpack(packed)})
    return Ids.of(item for _, item in keyed), ids_came(data)


def _in_order(items: Iterable[bytes]) -> list[tuple[int, bytes]]:
    return sorted((hash_id(item), item) for item in items)


def _merge_compiled(pieces: Pieces, partitions: int) -> tuple[Ids, int]:
    data, state, some = np.frombuffer(pieces, np.uint8), np.zeros(5, np.int64), np.empty(4 * SOME, np.int64)
    skip, bits = partitions.bit_length() - 1, min((len(data) >> 3).bit_length(), _FIRST_BITS)
    table, aside = _table(bits), np.zeros(0, np.int64)
    while not invoke("add_ids", data, len(data), state, table, skip, bits, some, aside if len(aside) else 0):
        wider = _widened(table, skip, bits, int(state[3]))
        if wider:
            table, bits = wider
        else:
            aside = np.zeros(len(data) // 2 + 1, np.int64)
    _, _, came, count, size = state.tolist()
    ends, out = np.empty(count, np.int64), np.empty(size, np.uint8)
    size = invoke("gather_ids", data, table, len(table), ends, out)
    ids = Ids(ends, out[:size])
    if len(aside):
        ids = _with_crafted(ids, table[:count, 0].view(np.uint64), _packed_at(pieces, aside))
    return ids, came


def _widened(table: _Numbers, skip: int, bits: int, count: int) -> tuple[_Numbers, int] | None:
    """The ids of a table in a wider one, and its bits; None where that would be too wide for so many ids."""
    while 2 << bits <= _MOST_SLOTS * (count + _FEW):
        bits += 1
        wider = _table(bits)
        if invoke("move_ids", table, len(table), wider, skip, bits):
            return wider, bits
    return None


def _packed_at(pieces: Pieces, aside: _Numbers) -> set[bytes]:
    view = memoryview(pieces)
    return {next(unpack(view[place:])) for place in aside[1 : int(aside[0]) + 1].tolist()}


def _with_crafted(ids: Ids, hashes: _Hashes, crafted: set[bytes]) -> Ids:
    """Ids in order, with others that found no place among them, since somebody made many of almost the same hash.

    Each of these takes some microseconds; so a few of them do not make all others slow.
    """
    keyed, places = _in_order(crafted), []
    for number, item in keyed:
        first, last = (int(hashes.searchsorted(np.uint64(number), side)) for side in ("left", "right"))
        places.append(first + bisect.bisect(ids.slice(first, last).to_list(), item))
    order = np.insert(np.arange(len(hashes)), places, len(hashes) + np.arange(len(keyed)))
    return Ids.concat([ids, Ids.of(item for _, item in keyed)]).take(order)


def _table(bits: int) -> _Numbers:
    """For add_ids."""
    return np.zeros(((1 << bits) + PROBES, 2), np.int64)


def ids_came(data: Pieces) -> int:
    """How many ids came to counted pieces, joined."""
    return sum(came for came, _ in _frames(data))


def _frames(data: Pieces) -> Iterator[tuple[int, memoryview]]:
    view, at = memoryview(data), 0
    while at < len(data):
        came, size = _FRAME.unpack_from(data, at)
        at += _FRAME.size + size
        yield came, view[at - size : at]


def pack(items: Iterable[bytes]) -> bytes:
    """Ids as bytes that can be joined: the length of each as a varint (7 bits a byte, the lowest first), its bytes."""
    return b"".join(_varint(len(item)) + item for item in items)


def _varint(number: int) -> bytes:
    rest = bytearray()
    while number > 127:
        rest.append(number & 127 | 128)
        number >>= 7
    return bytes([*rest, number])


def unpack(packed: bytes | memoryview) -> Iterator[bytes]:
    """The inverse of `pack`."""
    at = 0
    while at < len(packed):
        length = bits = 0
        while packed[at] > 127:
            length |= (packed[at] & 127) << bits
            bits += 7
            at += 1
        start = at + 1
        at = start + (length | packed[at] << bits)
        yield bytes(packed[start:at])


def id_lines(ids: Ids) -> bytes:
    """Ids one a line, UTF-8. One that holds a line break or begins with a quote is written as a JSON string.

    So each stays on one line, and a line that begins with a quote is a JSON string, any other the id itself.
    """
    if worth_compiling("join_lines", len(ids.ends), SMALL_SET):
        lines = np.empty(len(ids.data) + len(ids.ends), np.uint8)
        if not invoke("join_lines", ids.data, len(ids.data), ids.ends, len(ids.ends), lines):
            return lines.tobytes()
    return b"".join(_line(item) for item in ids.to_list())


def _line(item: bytes) -> bytes:
    import json

    quoted = item.startswith(b'"') or b"\n" in item or b"\r" in item
    return (json.dumps(item.decode()).encode() if quoted else item) + b"\n"


def unique_ids(events: Iterable[Any]) -> list[str]:
    """Events (dicts with id, event, timestamp) -> each id once; EventError names the first that is not valid."""
    piece = b"".join(piece for _, piece in counted_pieces(batch_events(events).ids))
    return [item.decode() for item in merge_pieces(piece)[0].to_list()]
