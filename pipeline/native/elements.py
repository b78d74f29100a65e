"""Where an array can be cut, compiled: its commas by strings and brackets alone, 64 bytes at a time.

Nothing is parsed. What is not JSON may be cut anywhere: whoever decodes the pieces sees it.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from pipeline.native.compiler import compiled
from pipeline.native.memory import byte, lowest_bit, store
from pipeline.native.strings import BACKSLASH, QUOTE
from pipeline.native.values import CLOSE, COMMA, OPEN

_WIDTH = 64  # bytes looked at together: a bit each in a word, the first one lowest
_FOLD = OPEN ^ 91  # a bracket with this bit is a brace
_NONE, _ONE, _ALL = np.uint64(0), np.uint64(1), np.uint64(2**64 - 1)


@intrinsic
def _compare(typing_context, address, index, code, fold):
    """Which of _WIDTH bytes, each with the bits of fold, are this code."""

    def generate(context, builder, signature, args):
        kind = ir.VectorType(ir.IntType(8), _WIDTH)
        text = builder.load(builder.inttoptr(builder.add(args[0], args[1]), kind.as_pointer()), align=1)
        found = builder.icmp_unsigned("==", builder.or_(text, _spread(builder, args[3])), _spread(builder, args[2]))
        return builder.bitcast(found, ir.IntType(_WIDTH))

    return types.uint64(types.intp, types.intp, types.uint8, types.uint8), generate


def _spread(builder: Any, code: Any) -> Any:
    """A vector with a byte in each place."""
    kind = ir.VectorType(ir.IntType(8), _WIDTH)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), code, ir.Constant(ir.IntType(32), 0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), _WIDTH), [0] * _WIDTH)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), places)


@intrinsic
def _ones(typing_context, word):
    """How many bits of a word are set."""

    def generate(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.int64(types.uint64), generate


@compiled
def _bits(d, i, end, code, fold):
    """As _compare, of the bytes before end."""
    if i + _WIDTH <= end:
        return _compare(d, i, code, fold)
    found = _NONE
    for k in range(end - i):
        found |= np.uint64((byte(d, i + k) | fold) == code) << np.uint64(k)
    return found


@compiled
def _escaped(backslashes, first):
    """(which bytes follow a backslash that is not escaped itself, whether the next word's first one does)."""
    escaped = first
    while backslashes:
        at = np.uint64(lowest_bit(backslashes))
        backslashes &= backslashes - _ONE
        if not (escaped >> at) & _ONE:
            if at == np.uint64(_WIDTH - 1):
                return escaped, _ONE
            escaped |= _ONE << (at + _ONE)
    return escaped, _NONE


@compiled
def _inside(quotes, before):
    """Which bytes are in strings, opening quotes among them; before: all bits, where a string is open, or none."""
    for shift in (1, 2, 4, 8, 16, 32):
        quotes ^= quotes << np.uint64(shift)
    return quotes ^ before


@compiled
def _highest(word):
    """The index of the highest set bit of a word that is not 0."""
    at = np.int64(0)
    while word > _ONE:
        word >>= _ONE
        at += 1
    return at


@compiled
def last_comma(d, end, found):
    """The index of the last comma between elements, or -1; d begins with an element of an array and has end bytes.

    found, two int64, takes how many such commas there are, and the index of the array's end or -1.
    """
    depth = i = count = at = np.int64(0)
    last, inside, escape = _NONE, _NONE, _NONE  # last: of the word at index `at`, the commas that were counted
    array_end = np.int64(-1)
    while i < end and array_end < 0:
        quotes, backslashes = _bits(d, i, end, QUOTE, 0), _bits(d, i, end, BACKSLASH, 0)
        if backslashes | escape:
            escaped, escape = _escaped(backslashes, escape)
            quotes &= ~escaped
        strings = _inside(quotes, inside)
        inside = _ALL if strings >> np.uint64(_WIDTH - 1) else _NONE
        commas = _bits(d, i, end, COMMA, 0) & ~strings
        opening = _bits(d, i, end, OPEN, _FOLD) & ~strings
        brackets = opening | (_bits(d, i, end, CLOSE, _FOLD) & ~strings)
        between = _NONE
        while brackets:
            bracket = brackets & -brackets
            if depth == 0:
                between |= commas & (bracket - _ONE)
            commas &= ~(bracket - _ONE)
            depth += 1 if opening & bracket else -1
            if depth < 0:
                array_end = i + lowest_bit(bracket)
                break
            brackets ^= bracket
        if depth == 0:
            between |= commas
        if between:
            count += _ones(between)
            last, at = between, i
        i += _WIDTH
    store(found, 0, count)
    store(found, 8, array_end)
    return at + _highest(last) if last else np.int64(-1)
