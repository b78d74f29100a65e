"""Blocks of a stream, decoded: rejects beside events, what is counted, and what the ledger takes of them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from pipeline.engine.metrics import COUNTS
from pipeline.formats.decoding import AnyBlock, Block, BrokenBlock, Shape
from pipeline.model.ids import merge_packed
from pipeline.model.tally import expected_checksum
from pipeline.storage.files import InputFile
from pipeline.stream import StreamJob, totals
from pipeline.stream.decode import DecodeStream, DecodeToLedger
from pipeline.stream.graph import hour_outputs, write_ledger_rejects
from pipeline.stream.ledger import open_ledger
from pipeline.stream.totals import IDS
from pipeline.transforms.decode import REJECTS
from tests import support
from tests.support import event, json_lines

HOUR = 1617390000
MIXED = Block(json_lines([event("a", timestamp=HOUR)]) + b"bad\n", source="mixed.jsonl")
NO_ARRAY = Block(b'{"id": "a"} {"id": "b"}\n', Shape.ELEMENTS, "array.json")
BROKEN = BrokenBlock("gone.jsonl", "gone.jsonl: cannot be read: it is gone", is_retryable=True)
FILE = InputFile("mixed.jsonl", 9, "mixed.jsonl")


def decoded(blocks: list[AnyBlock], job: StreamJob) -> tuple[list[str], list[str], dict[str, int]]:
    """The ids of the events, the sources of the rejects, and the sum of what was counted."""
    found: dict[str, list[Any]] = {IDS: [], REJECTS: [], COUNTS: []}
    with support.beam_pipeline() as pipeline:
        decoder = (DecodeToLedger if job.ledger else DecodeStream)(job)
        outputs = hour_outputs(pipeline | beam.Create(blocks), "Decode", decoder)
        for name, items in found.items():
            _ = outputs[name] | name >> beam.Map(support.Collect(items))
    counts: dict[str, int] = {}
    for _, amounts in found[COUNTS]:
        counts = {name: counts.get(name, 0) + amount for name, amount in amounts.items()}
    ids = [name.decode() for _, packed in found[IDS] for name in merge_packed(packed)[0].to_list()]
    rejects = [json.loads(line) for _, lines in found[REJECTS] for line in lines.splitlines()]
    return sorted(ids), sorted(reject["source"] for reject in rejects), counts


def test_nothing_that_comes_in_is_an_error() -> None:
    ids, sources, counts = decoded([MIXED, NO_ARRAY, BROKEN], StreamJob("out", ids_output="ids", rejects_output="bad"))
    assert ids == ["a"]
    assert sources == ["array.json", "gone.jsonl", "mixed.jsonl"]
    assert counts == {"read": 4, "rejected": 3, "late": 0}


@pytest.mark.parametrize("held", [1 << 26, 0], ids=["at the end", "at once"])
def test_a_block_that_the_ledger_has_is_given_to_nobody(
    held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a bundle commits what it has before it ends."""
    monkeypatch.setattr(totals, "_FLUSH_BYTES", held)
    job = StreamJob(str(tmp_path), ids_output="ids", rejects_output=str(tmp_path / "bad"), ledger=True)
    half = dataclasses.replace(MIXED, coverage_delta=5)
    rest = dataclasses.replace(MIXED, offset=50, coverage_delta=expected_checksum([FILE.path]) - 5)
    with open_ledger(job.output, job.settings) as ledger:
        ledger.start_file(FILE, b"key", 0)
        assert decoded([half], job) == (["a"], [], {"read": 2, "rejected": 1, "late": 0})
    with open_ledger(job.output, job.settings) as ledger:
        ledger.start_file(FILE, b"key", 0)
        assert decoded([half], job) == ([], [], {})
        assert ledger.tally()["read"] == 2
        assert decoded([rest], job) == (["a"], [], {"read": 2, "rejected": 1, "late": 0})
        assert (ledger.tally()["read"], ledger.open) == (4, {})
        write_ledger_rejects(job)
    assert sum(path.read_text().count("mixed.jsonl") for path in (tmp_path / "bad").iterdir()) == 2


def test_a_file_that_cannot_be_read_now_is_no_reject(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = StreamJob(str(tmp_path), ledger=True)
    with open_ledger(job.output, job.settings) as ledger:
        ledger.start_file(FILE._replace(name=BROKEN.source), b"key", 0)
        ledger.known[b"key"] = (9, 0)
        assert decoded([BROKEN], job) == ([], [], {})
        assert (ledger.open, ledger.known) == ({}, {})
        assert ledger.find([b"key"]) == {}
        assert decoded([BROKEN], job) == ([], [], {})  # of the attempt that was given up
    assert [record.message for record in caplog.records if record.name.startswith("pipeline")] == [
        "gone.jsonl: cannot be read: it is gone; retrying"
    ]
