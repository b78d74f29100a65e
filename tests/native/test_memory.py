"""Memory by address: bytes, words, and which bytes are not plain in a JSON string."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.native import memory
from pipeline.native.memory import LANES
from tests.native_support import callable_from_python
from tests.native_support import memory as memory_of

byte, load, lowest_bit, special_bytes = map(
    callable_from_python, (memory.byte, memory.load, memory.lowest_bit, memory.special_bytes)
)
other_than_digits, same_bytes = map(callable_from_python, (memory.other_than_digits, memory.same_bytes))
store, store_byte = map(callable_from_python, (memory.store, memory.store_byte))


def test_bytes_and_words_wherever_they_begin() -> None:
    data = memory_of(bytes(range(200, 232)))
    for index in range(24):
        assert byte(data.ctypes.data, index) == 200 + index
        assert load(data.ctypes.data, index) == int.from_bytes(data[index : index + 8].tobytes(), "little")


def test_only_what_is_written_changes() -> None:
    for index in range(9):
        data = memory_of(bytes(17))
        store(data.ctypes.data, index, np.uint64(2**64 - 1))
        assert data.tobytes() == bytes(index) + b"\xff" * 8 + bytes(9 - index)
        store_byte(data.ctypes.data, index, np.uint8(7))
        assert data.tobytes() == bytes(index) + b"\x07" + b"\xff" * 7 + bytes(9 - index)


def test_the_lowest_bit() -> None:
    for at in range(64):
        assert lowest_bit(np.uint64(2**63 | 1 << at)) == at


@given(st.binary(min_size=LANES, max_size=LANES) | st.binary(min_size=2, max_size=2).map(lambda b: (b * LANES)[:LANES]))
def test_what_is_not_plain_in_a_string(data: bytes) -> None:
    text = memory_of(data)
    wanted = sum(1 << k for k, code in enumerate(data) if not 32 <= code < 128 or code in b'"\\')
    assert special_bytes(text.ctypes.data, 0) == wanted


def test_every_byte_is_plain_or_not() -> None:
    for code in range(256):
        text = memory_of(bytes([code] * LANES))
        assert special_bytes(text.ctypes.data, 0) in (0, 2**LANES - 1)
        assert bool(special_bytes(text.ctypes.data, 0)) is not (32 <= code < 128 and code not in b'"\\')


@given(st.binary(min_size=LANES, max_size=LANES) | st.text("0189/:", min_size=LANES, max_size=LANES).map(str.encode))
def test_what_is_no_digit(data: bytes) -> None:
    text = memory_of(data)
    assert other_than_digits(text.ctypes.data, 0) == sum(
        1 << k for k, code in enumerate(data) if code not in b"0123456789"
    )


@given(st.data(), st.binary(min_size=LANES, max_size=LANES))
def test_which_bytes_are_the_same(draw: st.DataObject, data: bytes) -> None:
    changed = draw.draw(st.sets(st.integers(0, LANES - 1)))
    other = bytes(code ^ (k in changed) for k, code in enumerate(data))
    one, two = memory_of(b"x" + data), memory_of(other)
    assert same_bytes(one.ctypes.data, 1, two.ctypes.data) == sum(1 << k for k in range(LANES) if k not in changed)
