"""Blocks of a stream, decoded: rejects beside events, what is counted, and that a block in the ledger gives nothing."""

import json
from pathlib import Path
from typing import Any

import apache_beam as beam

from pipeline.engine.metrics import COUNTS
from pipeline.formats.decoding import AnyBlock, Block, BrokenBlock, Shape
from pipeline.stream.decode import DecodeStream
from pipeline.stream.job import StreamJob
from pipeline.stream.ledger import kept, ledger_of
from pipeline.stream.resume import rejects_written
from pipeline.transforms.decode import REJECTS
from tests import support
from tests.support import clock, event, json_lines

HOUR = 1617390000
MIXED = Block(json_lines([event("a", timestamp=HOUR)]) + b"bad\n", source="mixed.jsonl", balance=7)
NO_ARRAY = Block(b'{"id": "a"} {"id": "b"}\n', Shape.ELEMENTS, "array.json", balance=9)
BROKEN = BrokenBlock("gone.jsonl", "cannot be read: it is gone", balance=2)


def decoded(blocks: list[AnyBlock], **options: Any) -> tuple[list[str], list[str], dict[str, int]]:
    """The ids of the events, the sources of the rejects, and the sum of what was counted."""
    found: dict[str, list[Any]] = {"batches": [], REJECTS: [], COUNTS: []}
    with support.beam_pipeline() as pipeline:
        outputs = pipeline | beam.Create(blocks) | DecodeStream(True, clock(), **options)
        for name, items in found.items():
            _ = outputs[name] | name >> beam.Map(support.Collect(items))
    counts: dict[str, int] = {}
    for _, amounts in found[COUNTS]:
        counts = {name: counts.get(name, 0) + amount for name, amount in amounts.items()}
    ids = [row[0] for batch in found["batches"] for row in support.batch_rows(batch)]
    return sorted(ids), sorted(reject.source for _, rejects in found[REJECTS] for reject in rejects), counts


def test_nothing_that_comes_in_is_an_error() -> None:
    ids, sources, counts = decoded([MIXED, NO_ARRAY, BROKEN])
    assert ids == ["a"]
    assert sources == ["array.json", "gone.jsonl", "mixed.jsonl"]
    assert (counts["read"], counts["rejected"], counts["late"], counts["broken"]) == (4, 3, 0, 0)


def test_the_balance_is_that_of_the_blocks_whatever_is_in_them() -> None:
    batches = (MIXED.decode(True, None), BROKEN.decode(True, None))
    assert decoded([MIXED, BROKEN])[2]["balance"] == sum(batch.balance for batch in batches)
    assert decoded([NO_ARRAY])[2]["balance"] == NO_ARRAY.balance


def test_a_block_that_the_ledger_has_is_given_to_nobody(tmp_path: Path) -> None:
    job = StreamJob(str(tmp_path), rejects_output=str(tmp_path / "bad"), resume=True)
    with kept(job.output, job.settings, resume=True), rejects_written(job):
        first = decoded([MIXED], keep=job)
        assert first[:2] == (["a"], ["mixed.jsonl"])
        assert ledger_of(job.output).tally(before=False) == (2, 1, 0)
        ids, sources, counts = decoded([MIXED], keep=job)
        assert (ids, sources) == ([], [])
        assert counts == {**dict.fromkeys(counts, 0), "balance": first[2]["balance"]}
        assert ledger_of(job.output).tally(before=False) == (2, 1, 0)
    (path,) = (tmp_path / "bad").iterdir()
    assert [json.loads(row)["source"] for row in path.read_text().splitlines()] == ["mixed.jsonl"]
