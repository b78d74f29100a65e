"""The scanner takes what is usual itself."""

from unittest import mock

import pytest

from bench.events import pieces
from pipeline.formats import decoding
from pipeline.formats.decoding import Block, Shape
from tests import support
from tests.support import DECODERS


def test_the_scanner_takes_every_usual_spelling_itself() -> None:
    """Lines that it hands on cost 200 times as much, so there must be few."""
    text = b"".join(pieces(5000, "odd"))
    with mock.patch.object(decoding, "_parse", side_effect=AssertionError), support.decoder("compiled"):
        assert len(Block(text + b" " * 16 + b"\n").decode().codes) == 5000


@pytest.mark.parametrize("value", [b"1", b"-0.5e3", b'"x"', b'{"b":1}', b"[]", b"null", b" 7", b"9" * 40])
def test_members_that_change_their_type(value: bytes) -> None:
    """A number may stand where another record of the same layout has something else."""
    line = b'{"a":%s,"id":"x","event":"video_25","timestamp":%s}\n'
    lines = [line % (b"1", b"1"), line % (value, b" 1")] * 20
    block = Block(b"".join(lines) + b" " * 100 + b"\n")
    with mock.patch.object(decoding, "_parse", side_effect=AssertionError), support.decoder("compiled"):
        assert len(block.decode().codes) == len(lines)


@pytest.mark.parametrize(("shape", "between"), [(Shape.LINES, "\n"), (Shape.ELEMENTS, ",")])
def test_records_that_are_alike_up_to_the_end_of_a_block(shape: Shape, between: str) -> None:
    """Ids of all lengths, so that what is compared at once ends at any distance from the end."""
    for length in range(1, 150):
        lines = [support.line("a" * size).decode() for size in (1, 2, 3, length)]
        results = [support.decode_block(Block(f"{between.join(lines)}\n".encode(), shape), name) for name in DECODERS]
        assert results[0] == results[1]
        assert len(results[0][0]) == 4


@pytest.mark.parametrize(("shape", "between"), [(Shape.LINES, b"\n"), (Shape.ELEMENTS, b",")])
@pytest.mark.parametrize("count", [1, 2, 500])
def test_records_behind_a_block_are_not_taken(count: int, shape: Shape, between: bytes) -> None:
    """Blocks are views: the memory behind one has the next records."""
    lines = [support.line(f"id-{k}") for k in range(2 * count)]
    data = bytearray(between.join(lines) + between)
    size = len(between.join(lines[:count])) + 1
    data[size - 1] = 10
    with support.decoder("compiled"):
        batch = Block(memoryview(data)[:size], shape).decode()
    assert batch.ids.to_list() == [b"id-%d" % k for k in range(count)]
    assert (batch.read, batch.rejected) == (count, 0)
