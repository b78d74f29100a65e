"""Cutting streams into blocks: every record once, at its right place, in bounded memory."""

import contextlib
import io
import itertools
import json
import re
import tracemalloc
from codecs import BOM_UTF8
from collections.abc import Iterator
from random import Random
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.formats import blocks
from pipeline.formats.blocks import LineReader, buffer_head, is_array, read_blocks
from pipeline.formats.decoding import Block, Shape
from tests import documents, support

SIZES = st.sampled_from((1, 2, 3, 7, 64, 300, 1 << 16, 1 << 22))
PIECES = (b"", b"\n", b"\r\n", b"a", b"bc", b" ", b"{}", b"d" * 70, b"e" * 700, b"\xef\xbb\xbf", b"\n\n")
TEXTS = st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join)


class ShortReads(io.RawIOBase):
    """A stream that returns less than what was asked, as a bucket or pipe may."""

    def __init__(self, data: bytes, seed: int) -> None:
        self._data, self._random, self._at = data, Random(seed), 0
        self.most_read = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        assert whence == 0
        assert offset >= 0
        self._at = offset
        return offset

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), len(self._data) - self._at, self._random.choice((1, 2, 3, 100, 1 << 20)))
        buffer[:count] = self._data[self._at : self._at + count]
        self._at += count
        self.most_read = max(self.most_read, self._at)
        return count


def true_lines(data: bytes) -> list[tuple[int, bytes]]:
    """(offset, line) of each line with anything in it, by splitting at LF; the mark at the start is no part."""
    start = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    found = []
    for line in data[start:].split(b"\n"):
        if line:
            found.append((start, line))
        start += len(line) + 1
    return found


def lines_of(found: list[Block]) -> list[tuple[int, bytes]]:
    """(offset, line) of each line in blocks."""
    lines = []
    for block in found:
        data = bytes(block.data)
        assert block.shape is Shape.LINES
        assert data.endswith(b"\n")
        at = block.offset
        for line in data[:-1].split(b"\n"):
            if line:
                lines.append((at, line))
            at += len(line) + 1
    return lines


@settings(max_examples=600)
@given(TEXTS, SIZES, st.data())
def test_any_partition_of_cells_gives_each_line_once(text: bytes, size: int, data: st.DataObject) -> None:
    parts = -(-len(text) // size)
    cuts = sorted(data.draw(st.sets(st.integers(1, max(parts - 1, 1)), max_size=5)) & set(range(1, parts)))
    ranges = list(zip([0, *cuts], [*cuts, parts], strict=True))
    by_split: dict[int, list[Block]] = {}
    for start, stop in data.draw(st.permutations(ranges)):
        reader = LineReader(ShortReads(text, start), "s", size)  # type: ignore[arg-type]
        for split in range(start, stop):
            by_split[split] = list(reader.read_split(split))
    lines = lines_of([block for split in sorted(by_split) for block in by_split[split]])
    assert lines == true_lines(text)


@settings(max_examples=300)
@given(TEXTS, SIZES)
def test_a_whole_stream_of_lines(text: bytes, size: int) -> None:
    assert lines_of(list(read_blocks(ShortReads(text, size), "s", size))) == true_lines(text)  # type: ignore[arg-type]


@settings(max_examples=300)
@given(TEXTS, SIZES)
def test_a_cell_has_the_lines_that_begin_in_it(text: bytes, size: int) -> None:
    for split in range(-(-len(text) // size)):
        reader = LineReader(io.BytesIO(text), "s", size)
        begin = [offset for offset, _ in lines_of(list(reader.read_split(split)))]
        mark = 3 if text.startswith(b"\xef\xbb\xbf") else 0
        wanted = [o for o, _ in true_lines(text) if split * size <= (0 if o == mark else o) < (split + 1) * size]
        assert begin == wanted


@settings(max_examples=600)
@given(documents.ARRAYS | documents.DAMAGED_ARRAYS, st.sampled_from((1, 2, 3, 7, 64, 300)), documents.SEEDS)
def test_arrays_in_small_blocks_are_as_in_one(data: bytes, size: int, seed: int) -> None:
    wanted = support.decode_source(data, "strict")
    for name in support.DECODERS:
        assert support.decode_source(data, name, size) == wanted
    with mock.patch.object(io, "BytesIO", lambda content: ShortReads(content, seed)):
        assert support.decode_source(data, "strict", size) == wanted


def test_strings_with_commas_wherever_a_word_of_64_bytes_cuts_their_escapes() -> None:
    for before in range(130):
        escapes = (b"", b'\\"', b'\\\\\\"', b"\\\\" * 40)
        data = b"[" + b",".join(b'"%s%s,]"' % (b"x" * before, escape) for escape in escapes) + b"]"
        for size in (1, 64):
            assert support.decode_source(data, "compiled", size) == support.expected(data)


@settings(max_examples=200)
@given(documents.LINES | documents.DAMAGED_LINES, st.sampled_from((1, 2, 3, 7, 64, 300)))
def test_lines_in_small_blocks_are_as_in_one(data: bytes, size: int) -> None:
    if not is_array(data):
        wanted = support.expected(data)
        for name in support.DECODERS:
            assert support.decode_source(data, name, size) == wanted


@settings(max_examples=100)
@given(st.integers(1, 30), st.sampled_from((1, 5, 64, 1000)), st.booleans())
def test_elements_have_their_index_and_offset(count: int, size: int, in_object: bool) -> None:
    elements = b",".join(b" %d" % k for k in range(count))
    data = (b'{"mock_for_test":[%s]}' if in_object else b"[%s]") % elements
    with mock.patch.object(blocks, "HEAD_BYTES", 20):
        found = list(read_blocks(io.BytesIO(data), "s", size))
    assert len(found) > 1 or len(data) < 40 or size > 5
    rejects = [reject for block in found for reject in block.decode().rejects]
    assert [reject.index for reject in rejects] == list(range(count))
    assert [reject.raw for reject in rejects] == [str(k) for k in range(count)]
    for reject in rejects:
        assert reject.offset is not None
        assert data[reject.offset :].startswith(reject.raw.encode())


@pytest.fixture
def small_limit() -> Iterator[None]:
    """Records of over 1,000 bytes are too long; the reader looks ahead by 100."""
    with mock.patch.object(blocks, "MAX_RECORD_BYTES", 1000), mock.patch.object(blocks, "HEAD_BYTES", 100):
        yield


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("size", [1, 10, 100, 450, 5000])
@pytest.mark.parametrize("where", [0, 1, 2, 3])
def test_a_line_that_is_too_long_is_one_reject_and_the_rest_goes_on(size: int, where: int) -> None:
    good = support.line()
    long = b'{"x":"' + b"y" * 20_000 + b'"}'
    lines = [good, good, good]
    lines.insert(where, long)
    for text in (b"\n".join(lines), b"\n".join(lines) + b"\n"):
        found = []
        for split in range(-(-len(text) // size)):  # a fresh reader for each split
            found += list(LineReader(io.BytesIO(text), "s", size).read_split(split))
        for batches in ([b.decode() for b in found], [b.decode() for b in read_blocks(io.BytesIO(text), "s", size)]):
            rejects = [reject for batch in batches for reject in batch.rejects]
            assert [(reject.offset, reject.reason) for reject in rejects] == [(text.index(long), "line is too long")]
            assert rejects[0].raw == long[:1024].decode()
            assert sum(len(batch.codes) for batch in batches) == 3


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("before", [0, 30, 300, 900])
@pytest.mark.parametrize(
    ("length", "size"),
    [*itertools.product([990, 1000], [1, 100, 450, 5000]), *itertools.product([1001, 1300, 2200], [1, 100, 450])],
)
def test_a_line_is_taken_up_to_the_limit_wherever_it_stands(length: int, before: int, size: int) -> None:
    text = b" " * before + b"\n" + b"y" * length + b"\n" + b"z\n"
    rejects = [reject for block in read_blocks(io.BytesIO(text), "s", size) for reject in block.decode().rejects]
    assert [reject.reason == "line is too long" for reject in rejects] == [length > 1000, False]


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("size", [1, 450])
@pytest.mark.parametrize("where", [0, 1, 2])
@pytest.mark.parametrize("length", [1000, 1001, 1300, 2200])
def test_an_element_is_taken_up_to_the_limit_wherever_it_stands(length: int, where: int, size: int) -> None:
    elements = [b"0" * 50, b"0" * 300]
    elements.insert(where, b"1" * length)
    too_long = pytest.raises(InputError, match="exceeds the 1000-byte limit")
    with too_long if length > 1000 else contextlib.nullcontext():
        found = list(read_blocks(io.BytesIO(b"[" + b",".join(elements) + b"]"), "s", size))
        assert b"".join(bytes(block.data) for block in found).replace(b"\n", b",") == b",".join(elements) + b","


def test_an_array_of_one_line_is_read_in_bounded_memory() -> None:
    element = support.line("i" * 50) + b","
    data = b"[" + element * (50_000_000 // len(element)) + element[:-1] + b"]"
    count = total = 0
    list(read_blocks(io.BytesIO(b"[1,2]"), "warm-up", 1))  # compiles or loads the scanner
    tracemalloc.start()
    for block in read_blocks(io.BytesIO(data), "s", 1 << 20):
        assert len(block.data) <= (1 << 20) + 1
        count += 1
        total += len(block.data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count >= 47
    assert total == len(data) - 1
    assert peak < 8 << 20


class Blanks(io.RawIOBase):
    """A text, then so many blanks, then a text; not in memory."""

    def __init__(self, head: bytes, blanks: int, tail: bytes) -> None:
        self._parts = [io.BytesIO(head), blanks, io.BytesIO(tail)]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        head, blanks, tail = self._parts
        assert isinstance(blanks, int)
        if (got := head.readinto(buffer)) or not blanks:  # type: ignore[union-attr]
            return got or tail.readinto(buffer)  # type: ignore[union-attr]
        got = min(blanks, len(buffer))
        buffer[:got] = b" " * got
        self._parts[1] = blanks - got
        return got


@pytest.mark.parametrize(
    ("head", "tail", "reason"),
    [
        (b"[%s]", b"", ""),
        (b"[%s]", b"\n", ""),
        (b"[%s]", b"]", "unexpected data after the array"),
        (b"[%s]", b"}", "unexpected data after the array"),
        (b'{"mock_for_test": [%s]', b"}", ""),
        (b'{"mock_for_test": [%s]}', b"", ""),
        (b'{"mock_for_test": [%s]', b"", "JSON array is truncated"),
        (b'{"mock_for_test": [%s]}', b"}", "unexpected data after the array"),
        (b'{"mock_for_test": [%s]', b', "more": 1}', "unexpected data after the array"),
    ],
)
@pytest.mark.parametrize("elements", [0, 100])
def test_blanks_behind_an_array_take_no_memory(elements: int, head: bytes, tail: bytes, reason: str) -> None:
    text = head % b",".join([support.line()] * elements)
    blanks = 40 << 20
    list(read_blocks(io.BytesIO(b"[1,2]"), "warm-up", 1))
    tracemalloc.start()
    with pytest.raises(InputError, match=reason) if reason else contextlib.nullcontext():
        found = list(read_blocks(Blanks(text, blanks, tail), "s", 1 << 20))  # type: ignore[arg-type]
        assert sum(len(block.decode().codes) for block in found) == elements
        assert (found[0].span[0], found[-1].span[1]) == (0, len(text) + blanks + len(tail))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


@settings(max_examples=200)
@given(documents.LINES | documents.ARRAYS, st.sampled_from((1, 2, 3, 7, 64, 300, 1 << 22)))
def test_blocks_lie_side_by_side(text: bytes, size: int) -> None:
    for ahead in (20, 128, 1 << 16):
        with mock.patch.object(blocks, "HEAD_BYTES", ahead):
            whole, spans = False, []
            with contextlib.suppress(InputError):
                spans += (block.span for block in read_blocks(io.BytesIO(b" \n" * 50 + text), "s", size))
                whole = True
        assert [start for start, _ in spans] == [0, *(stop for _, stop in spans)][: len(spans)]
        assert not whole or spans[-1][1] == len(text) + 100


def test_an_array_is_read_no_further_than_asked() -> None:
    stream = ShortReads(b"[" + b"1," * 2_000_000 + b"1]", 0)
    next(read_blocks(stream, "s", 1 << 17))  # type: ignore[arg-type]
    assert stream.most_read < 1 << 19


@pytest.mark.parametrize(
    ("head", "array"),
    [
        (b"", False),
        (b"[", True),
        (b" \r\n\t[", True),
        (b"\xef\xbb\xbf[", True),
        (b"\xef\xbb\xbf [", True),
        (b" \xef\xbb\xbf[", False),
        (b"{", False),
        (b'{"id":"a"}', False),
        (b'{"mock_for_test":[', True),
        (b'{ "mock_for_test"\n:\t[', True),
        (b'{"mock_for_test":{', False),
        (b'{"other":[', False),
        (b'"[', False),
    ],
)
def test_shape_is_told_from_the_first_bytes(head: bytes, array: bool) -> None:
    assert is_array(head) is array


@pytest.mark.parametrize("mark", [b"", BOM_UTF8])
@pytest.mark.parametrize("space", [0, 1, 65532, 65533, 65535, 65536, 200_000])
def test_white_space_before_an_array_whatever_its_length(space: int, mark: bytes) -> None:
    text = mark + b"\n" * space + b"[" + support.line() + b"]"
    (block,) = read_blocks(io.BytesIO(text), "s")
    assert (block.shape, block.offset) == (Shape.ELEMENTS, len(mark) + space + 1)
    assert is_array(buffer_head(io.BytesIO(text)).head)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"mock_for_test":[1]}\n\x1a', "byte 22: unexpected Ctrl-Z (0x1A, DOS end-of-file) after the array"),
        (b"[1]" + b" " * 70_000 + b"[2]", "byte 70003: extra JSON document after the array"),
        (b"[1]\n[2]", "byte 4: extra JSON document after the array"),
        (b"[1]x", "byte 3: unexpected data after the array"),
        (b"[1]]", "byte 3: unexpected data after the array"),
        (b'{"mock_for_test":[1]}}', "byte 21: unexpected data after the array"),
        (b'{"mock_for_test":[1],"more":1}', "byte 20: unexpected data after the array"),
        (b"[1}", "byte 2: not JSON: the array has a stray brace"),
        (b'{"mock_for_test":[1}]', "byte 19: not JSON: the array has a stray brace"),
    ],
)
def test_what_stands_after_an_array_is_named(data: bytes, reason: str) -> None:
    blocks = read_blocks(io.BytesIO(data), "s", 1)
    with pytest.raises(InputError, match=f"^s: {re.escape(reason)}"):
        [block.decode() for block in blocks]


ELEMENTS = st.recursive(
    st.sampled_from((1, "a", "]", "}", "[{", '\\"', "é", None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("a", "]", "}")), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("decoder", support.DECODERS)
@settings(max_examples=100)
@given(st.lists(ELEMENTS, max_size=4), st.booleans(), st.sampled_from((None, 1)), st.sampled_from((1, 7, 1 << 22)))
def test_every_prefix_of_an_array_breaks_off(
    decoder: str, elements: list[Any], in_object: bool, indent: int | None, size: int
) -> None:
    document = json.dumps({"mock_for_test": elements} if in_object else elements, indent=indent).encode()
    for count in range(1, len(document)):
        prefix = document[:count]
        with support.decoder(decoder):
            if is_array(prefix):
                with pytest.raises(InputError, match=f"^s: byte {count}: JSON array is truncated$"):
                    [block.decode() for block in read_blocks(io.BytesIO(prefix), "s", size)]
            else:  # read as JSON Lines
                block = next(read_blocks(io.BytesIO(prefix), "s", size))
                assert "truncated" in block.decode().rejects[0].reason
