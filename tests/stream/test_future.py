"""Events ahead of their time: which are refused, and what is kept of them."""

import json

import pytest

from pipeline.formats.decoding import Block
from pipeline.model.events import Batch
from pipeline.schema import Event
from pipeline.stream.future import refuse_future
from tests import support

CAME = 1617393003


def batch(*timestamps: int) -> Batch:
    return Batch.of(Event(f"id-{t}", 0, t) for t in timestamps)


@pytest.mark.parametrize(
    ("timestamp", "most", "refused"),
    [(CAME + 60, 60, False), (CAME + 61, 60, True), (CAME, 0, False), (CAME + 1, 0, True), (0, 0, False)],
)
def test_an_event_is_refused_when_it_is_too_far_ahead(timestamp: int, most: int, refused: bool) -> None:
    kept = refuse_future(batch(timestamp), Block(b"", arrived=CAME), most)
    assert (kept.timestamps.tolist(), kept.rejected, len(kept.rejects)) == (
        ([], 1, 1) if refused else ([timestamp], 0, 0)
    )
    assert kept.read == 1


def test_who_does_not_know_when_it_came_refuses_nothing() -> None:
    some = batch(2**37)
    assert refuse_future(some, Block(b""), 0) is some


def test_a_refused_event_is_kept_with_the_reason_beside_other_rejects() -> None:
    lines = support.line("a", timestamp=CAME) + b"\n{}\n" + support.line("b", timestamp=CAME + 90) + b"\n"
    block = Block(lines, source="file", arrived=CAME, offset=7)
    kept = refuse_future(block.decode(True, None), block, 60)
    assert support.batch_rows(kept) == [("a", "impressions", CAME)]
    assert (kept.read, kept.rejected) == (3, 2)
    _, reject = kept.rejects
    assert json.loads(reject.raw) == support.event("b", timestamp=CAME + 90)
    assert str(reject) == "file: byte 7: timestamp: in the future, 90 s after it came"
