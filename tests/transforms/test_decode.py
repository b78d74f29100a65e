"""Blocks become batches, rejects and tallies, on two runners."""

from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that

from pipeline import Block, DecodeBlocks, HourlyTable
from pipeline.errors import InputError, RejectsError
from pipeline.formats.decoding import Shape
from pipeline.model.events import Batch
from pipeline.transforms.count import TALLY_KEY, CountHours
from pipeline.transforms.decode import REJECTS
from tests import support
from tests.support import on_both_runners


@on_both_runners
def test_decode_blocks(runner: str) -> None:
    good = support.line("a", "video_25", 1)
    blocks = [
        Block(good + b"\nx\n" + good + b"\n", Shape.LINES, "one", 100),
        Block(good + b",1," + good + b"\n", Shape.ELEMENTS, "two", 1, 5),
        Block(b"y" * 10, Shape.TOO_LONG, "three", 7),
    ]

    def check_batches(found: list[Batch]) -> None:
        assert sorted(len(batch.codes) for batch in found) == [0, 2, 2]
        assert {row for batch in found for row in support.batch_rows(batch)} == {("a", "video_25", 1)}

    def check_rejects(found: list[Any]) -> None:
        places = sorted((reject.source, reject.offset, reject.index) for rejects in found for reject in rejects)
        assert places == [("one", 101 + len(good), None), ("three", 7, None), ("two", 2 + len(good), 6)]

    def check_tally(found: list[tuple[int, Any]]) -> None:
        tally = dict(found)[TALLY_KEY]
        assert (tally.read, tally.rejected, len(tally.first)) == (7, 3, 3)

    with support.beam_pipeline(runner) as pipeline:
        decoded = pipeline | beam.Create(blocks) | DecodeBlocks()
        assert_that(decoded.batches, check_batches, "batches")
        assert_that(decoded[REJECTS], check_rejects, "rejects")
        assert_that(decoded.batches | CountHours(support.clock(), with_tally=True), check_tally, "tally")


def test_rejects_that_nobody_keeps_are_all_counted() -> None:
    blocks = [Block(b"x\n" * 1000, source="s", offset=k * 2000) for k in (2, 0, 1)]
    pipeline = support.beam_pipeline()
    decoded = pipeline | beam.Create(blocks) | DecodeBlocks(keep_rejects=False)
    _ = decoded.batches | HourlyTable(fail_on_rejects=True)
    with pytest.raises(RejectsError) as caught:
        pipeline.run()
    message = str(caught.value)
    assert message.startswith("3000 of 3000 records rejected: s: byte 0: not JSON")
    assert [f"s: byte {offset}:" in message for offset in range(0, 22, 2)] == [True] * 10 + [False]
    assert "; and 2990 more" in message


@on_both_runners
def test_a_broken_array_ends_the_pipeline(runner: str) -> None:
    with pytest.raises(InputError, match="s: byte 3: not JSON"), support.beam_pipeline(runner) as pipeline:
        _ = pipeline | beam.Create([Block(b"x\n", Shape.ELEMENTS, "s", 3)]) | DecodeBlocks()
