"""Memory access by address for compiled code: loads, stores, SIMD comparisons of 32 or 64 bytes, and bit operations.

Compiled functions that pass numpy arrays to each other spend a third of their time on atomic reference counts; these
take plain addresses (`array.ctypes.data`). Unchecked: callers keep every index within the array, and the array alive.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from pipeline.native.compiler import compiled


def _pointer(builder: Any, args: Any, bits: int) -> Any:
    return builder.inttoptr(builder.add(args[0], args[1]), ir.IntType(bits).as_pointer())


@intrinsic
def byte(typing_context, address, index):
    """Loads the byte at address + index as uint8."""

    def generate(context, builder, signature, args):
        return builder.load(_pointer(builder, args, 8))

    return types.uint8(types.intp, types.intp), generate


@intrinsic
def load(typing_context, address, index):
    """Loads the 8 bytes at address + index as a little-endian uint64."""

    def generate(context, builder, signature, args):
        return builder.load(_pointer(builder, args, 64), align=1)

    return types.uint64(types.intp, types.intp), generate


@intrinsic
def store(typing_context, address, index, word):
    """Stores a uint64 at address + index."""

    def generate(context, builder, signature, args):
        builder.store(args[2], _pointer(builder, args, 64), align=1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.uint64), generate


@intrinsic
def store_byte(typing_context, address, index, value):
    """Stores a uint8 at address + index."""

    def generate(context, builder, signature, args):
        builder.store(args[2], _pointer(builder, args, 8))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.uint8), generate


@intrinsic
def lowest_bit(typing_context, word):
    """Returns the index of the lowest set bit of a nonzero uint64."""

    def generate(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


LANES = 32
"""Bytes that `special_bytes`, `other_than_digits` and `same_bytes` compare: one bit each, the first lowest."""

_LANES = ir.VectorType(ir.IntType(8), LANES)


@intrinsic
def special_bytes(typing_context, address, index):
    """Returns a mask of the LANES bytes at address + index that are not plain in a JSON string.

    Plain characters are printable ASCII without the quote and the backslash.
    """

    def generate(context, builder, signature, args):
        text = _load_lanes(builder, builder.add(args[0], args[1]))
        quotes, backslashes, spaces = (ir.Constant(_LANES, [code] * LANES) for code in (34, 92, 32))
        ends = builder.or_(builder.icmp_signed("==", text, quotes), builder.icmp_signed("==", text, backslashes))
        return _lane_bits(builder, builder.or_(ends, builder.icmp_signed("<", text, spaces)))  # from 128 on negative

    return types.uint64(types.intp, types.intp), generate


@intrinsic
def other_than_digits(typing_context, address, index):
    """Returns a mask of the LANES bytes at address + index that are not digits."""

    def generate(context, builder, signature, args):
        zero, nine = (ir.Constant(_LANES, [code] * LANES) for code in (48, 9))
        above_zero = builder.sub(_load_lanes(builder, builder.add(args[0], args[1])), zero)
        return _lane_bits(builder, builder.icmp_unsigned(">", above_zero, nine))

    return types.uint64(types.intp, types.intp), generate


@intrinsic
def same_bytes(typing_context, address, index, other):
    """Returns a mask of the LANES bytes at address + index that equal those at another address."""

    def generate(context, builder, signature, args):
        one, two = _load_lanes(builder, builder.add(args[0], args[1])), _load_lanes(builder, args[2])
        return _lane_bits(builder, builder.icmp_unsigned("==", one, two))

    return types.uint64(types.intp, types.intp, types.intp), generate


def _load_lanes(builder: Any, address: Any) -> Any:
    return builder.load(builder.inttoptr(address, _LANES.as_pointer()), align=1)


def _lane_bits(builder: Any, found: Any) -> Any:
    return builder.zext(builder.bitcast(found, ir.IntType(LANES)), ir.IntType(64))


WORD = 64
"""Bytes that `equal_bytes` and `low_bytes` compare: one bit each in the result, the first lowest."""

_BYTES = ir.VectorType(ir.IntType(8), WORD)


@intrinsic
def equal_bytes(typing_context, address, index, code, fold):
    """Returns a mask of the WORD bytes at address + index that equal code after OR with fold."""

    def generate(context, builder, signature, args):
        text = builder.or_(_load_word(builder, args), _broadcast(builder, args[3]))
        return builder.bitcast(builder.icmp_unsigned("==", text, _broadcast(builder, args[2])), ir.IntType(WORD))

    return types.uint64(types.intp, types.intp, types.uint8, types.uint8), generate


@intrinsic
def low_bytes(typing_context, address, index):
    """Returns a mask of the WORD bytes at address + index that are spaces or control characters."""

    def generate(context, builder, signature, args):
        spaces = ir.Constant(_BYTES, [32] * WORD)
        return builder.bitcast(builder.icmp_unsigned("<=", _load_word(builder, args), spaces), ir.IntType(WORD))

    return types.uint64(types.intp, types.intp), generate


def _load_word(builder: Any, args: Any) -> Any:
    return builder.load(builder.inttoptr(builder.add(args[0], args[1]), _BYTES.as_pointer()), align=1)


def _broadcast(builder: Any, code: Any) -> Any:
    """Returns a vector of WORD bytes that all equal code."""
    first = builder.insert_element(ir.Constant(_BYTES, ir.Undefined), code, ir.Constant(ir.IntType(32), 0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), WORD), [0] * WORD)
    return builder.shuffle_vector(first, ir.Constant(_BYTES, ir.Undefined), places)


@intrinsic
def ones(typing_context, word):
    """Counts the set bits of a uint64."""

    def generate(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.int64(types.uint64), generate


@compiled
def copy(d, start, stop, out, w):
    """Copies bytes to out at w; returns the new w. Writes nothing after that."""
    end = w + stop - start
    if stop - start < 8:
        for k in range(stop - start):
            store_byte(out, w + k, byte(d, start + k))
        return end
    for k in range(0, stop - start - 7, 8):
        store(out, w + k, load(d, start + k))
    store(out, end - 8, load(d, stop - 8))
    return end
