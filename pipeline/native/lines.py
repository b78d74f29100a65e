"""Counts lines without looking into them, 64 bytes at a time. Called through `loader.py`; importing imports numba."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from pipeline.native.compiler import compiled
from pipeline.native.memory import byte, lowest_bit

_WIDTH = 64  # bytes compared at once: a bit each in a word
_BYTES = ir.VectorType(ir.IntType(8), _WIDTH)
_ONE = np.uint64(1)


def _compare(builder: Any, args: Any, operation: str, value: int) -> Any:
    pointer = builder.inttoptr(builder.add(args[0], args[1]), _BYTES.as_pointer())
    matches = builder.icmp_unsigned(operation, builder.load(pointer, align=1), ir.Constant(_BYTES, [value] * _WIDTH))
    return builder.bitcast(matches, ir.IntType(64))


@intrinsic
def _newlines(typing_context, address, index):
    """Which of the 64 bytes at address + index are newlines, the first byte's bit lowest."""

    def generate(context, builder, signature, args):
        return _compare(builder, args, "==", 10)

    return types.uint64(types.intp, types.intp), generate


@intrinsic
def _low(typing_context, address, index):
    """Which of the 64 bytes at address + index are white space or control characters."""

    def generate(context, builder, signature, args):
        return _compare(builder, args, "<=", 32)

    return types.uint64(types.intp, types.intp), generate


@intrinsic
def _ones(typing_context, word):
    """How many bits of a uint64 are set."""

    def generate(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.int64(types.uint64), generate


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
    while i + _WIDTH <= size:
        ends, low = _newlines(d, i), _low(d, i)
        doubtful = ends & ((low << _ONE) | before)
        count += _ones(ends ^ doubtful)
        while doubtful:
            count += _has_text(d, i + lowest_bit(doubtful))
            doubtful &= doubtful - _ONE
        before = low >> np.uint64(_WIDTH - 1)
        i += _WIDTH
    while i < size:
        if byte(d, i) == 10:
            count += _has_text(d, i)
        i += 1
    return count
