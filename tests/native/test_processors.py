"""Code compiled for a processor with the least features (without AVX) does the same as for this machine's."""

from collections.abc import Iterator
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.events import pieces
from pipeline.formats import decoding
from pipeline.formats.decoding import Block
from pipeline.model.events import Ids
from pipeline.model.ids import hash_id, merge_packed, pack_partitions
from pipeline.native import loader as native
from tests.documents import ARRAYS, DAMAGED_ARRAYS, DAMAGED_LINES, LINES
from tests.support import decode_block, decode_source, decoder, expected

CACHED = (native._engine, native._function, native.try_load)


@pytest.fixture(scope="module", autouse=True)
def _least_processor() -> Iterator[None]:
    with mock.patch.object(native, "_host_cpu", return_value=("generic", "")) as processor:
        for function in CACHED:
            function.cache_clear()
        assert native.try_load("scan")
        assert native.try_load("sort_ids")
        assert processor.called
        yield
    for function in CACHED:
        function.cache_clear()


@settings(max_examples=600)
@given(LINES | DAMAGED_LINES | ARRAYS | DAMAGED_ARRAYS, st.sampled_from((1 << 22, 50)))
def test_documents(data: bytes, block_bytes: int) -> None:
    assert decode_source(data, "compiled", block_bytes) == expected(data)


@pytest.mark.parametrize("form", ["jsonl", "odd"])
def test_many_events(form: str) -> None:
    block = Block(b"".join(pieces(3000, form)))
    with mock.patch.object(decoding, "_parse", side_effect=AssertionError), decoder("compiled"):
        assert len(block.decode().codes) == 3000
    assert decode_block(block, "compiled") == decode_block(block, "strict")


@given(st.lists(st.binary(min_size=1, max_size=40)))
def test_ids(items: list[bytes]) -> None:
    with decoder("compiled"):
        merged, came = merge_packed(b"".join(piece for _, piece in pack_partitions(Ids.of(items * 2))))
    assert came == 2 * len(items)
    assert merged.to_list() == sorted(set(items), key=lambda item: (hash_id(item), item))
