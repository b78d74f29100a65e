"""Blocks of a stream, decoded: rejects, events that are late or of the future, and what the ledger takes of them."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.metrics import COUNTS
from pipeline.formats.decoding import AnyBlock, Block, BrokenBlock
from pipeline.model.events import Batch, Reject
from pipeline.model.hours import HourClock
from pipeline.model.ids import merge_packed
from pipeline.model.tally import expected_checksum
from pipeline.schema import EVENT_TYPES, Event
from pipeline.storage.files import InputFile
from pipeline.stream import StreamJob, totals
from pipeline.stream.decode import DecodeStream, DecodeToLedger, reject_future_events, reject_late_events
from pipeline.stream.graph import hour_outputs, write_ledger_rejects
from pipeline.stream.ledger import open_ledger
from pipeline.stream.totals import IDS
from pipeline.transforms.decode import REJECTS
from tests import oracle, support
from tests.support import event, json_lines

HOUR = 1617390000
MIXED = Block(json_lines([event("a", timestamp=HOUR)]) + b"bad\n", source="mixed.jsonl")
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


END = 1617393600  # of the hour of 1617393003, at any offset of whole hours


CLOCK = support.clock()


def batch(*timestamps: int, want_ids: bool = True) -> Batch:
    return Batch.of([Event(f"id-{k}", k % 6, t) for k, t in enumerate(timestamps)], want_ids)


def times(some: Batch | Sequence[Reject]) -> list[int]:
    return some.timestamps.tolist() if isinstance(some, Batch) else [json.loads(one.raw)["timestamp"] for one in some]


def split_late(
    some: Batch, arrived: int, allowed: int, clock: HourClock = CLOCK, found: float = -math.inf, final: Any = ()
) -> tuple[Batch, Sequence[Reject]]:
    """The batch without its late events, and these as rejects."""
    block = Block(b"", source="file", offset=7, arrived=arrived)
    kept, late = reject_late_events(some, block, clock, allowed, found, final)
    assert (kept.rejected, kept.read, kept.rejects[: len(some.rejects)]) == (some.rejected, some.read, some.rejects)
    lost = kept.rejects[len(some.rejects) :]
    assert len(lost) == late
    return kept, lost


@pytest.mark.parametrize(
    ("arrived", "allowed", "late"),
    [
        (END, 0, False),
        (END + 1, 0, True),
        (END + 60, 60, False),
        (END + 61, 60, True),
        (0, 0, False),
        (2**40, 2**60, False),
    ],
)
def test_an_event_is_late_when_it_came_after_its_hour_was_closed(arrived: int, allowed: int, late: bool) -> None:
    on_time, lost = split_late(batch(END - 1), arrived, allowed)
    assert (times(on_time), times(lost)) == (([], [END - 1]) if late else ([END - 1], []))


@pytest.mark.parametrize(("found", "late"), [(END + 60, False), (END + 60.5, True), (0, False)])
def test_an_event_that_was_written_in_time_is_late_when_it_is_found_after_its_hour_was_closed(
    found: float, late: bool
) -> None:
    lost = split_late(batch(END - 1), END, 60, CLOCK, found)[1]
    assert times(lost) == [END - 1] * late
    assert [reject.reason for reject in lost] == [
        f"late: found {int(found) - END} s after the end of its hour 2021-04-02T20:00:00+01:00, which was closed, "
        "although written in time"
    ] * late


def test_an_event_of_a_final_hour_is_late_whenever_it_was_written_and_found() -> None:
    some = batch(END - 1, END, END - 3600, END - 3601)
    on_time, lost = split_late(some, END, 10**9, CLOCK, END, {END - 3600, 0})
    assert (times(on_time), times(lost)) == ([END, END - 3601], [END - 1, END - 3600])


def test_rejects_stay_with_the_events_in_time() -> None:
    broken = BrokenBlock("file", "cut off").decode(True, None)
    some = Batch.concat([batch(0, END, 5), broken])
    on_time, lost = split_late(some, END + 1, 0, CLOCK)
    assert (support.batch_rows(on_time), on_time.rejected) == ([("id-1", EVENT_TYPES[1], END)], 1)
    assert (times(lost), broken.rejected) == ([0, 5], 1)


def test_a_late_event_is_kept_as_it_was_with_the_reason() -> None:
    (reject,) = split_late(batch(END - 1), END + 90, 0)[1]
    assert json.loads(reject.raw) == {"id": "id-0", "event": "impressions", "timestamp": END - 1}
    assert reject.reason == "late: arrived 90 s after the end of its hour 2021-04-02T20:00:00+01:00"
    assert str(reject) == f"file: byte 7: {reject.reason}"


def test_a_late_event_without_its_id() -> None:
    (reject,) = split_late(batch(0, want_ids=False), END, 0)[1]
    assert json.loads(reject.raw) == {"id": "", "event": "impressions", "timestamp": 0}


TIMES = st.lists(st.integers(0, 3 * 3600), max_size=12)


@given(TIMES, st.integers(0, 5 * 3600), st.integers(0, 3600), st.integers(-18 * 60, 18 * 60))
def test_late_events_are_those_of_the_definition(
    timestamps: list[int], arrived: int, allowed: int, minutes: int
) -> None:
    some = batch(*timestamps)
    on_time, lost = split_late(some, arrived, allowed, support.clock(minutes * 60))

    def is_late(timestamp: int) -> bool:
        same_hour = [t for t in range(timestamp, timestamp + 3601, 60) if oracle.hour(t + 86400, minutes) == label]
        label_ends = same_hour[-1] // 60 * 60 + 60
        return arrived > label_ends + allowed

    wanted = []
    for row in support.batch_rows(some):
        label = oracle.hour(row[2] + 86400, minutes)
        wanted.append(is_late(row[2]))
    rows = support.batch_rows(some)
    raws = [tuple(json.loads(reject.raw).values()) for reject in lost]
    assert raws == [row for row, late in zip(rows, wanted, strict=True) if late]
    assert support.batch_rows(on_time) == [row for row, late in zip(rows, wanted, strict=True) if not late]


CAME = 1617393003


@pytest.mark.parametrize(
    ("timestamp", "most", "refused"),
    [(CAME + 60, 60, False), (CAME + 61, 60, True), (CAME, 0, False), (CAME + 1, 0, True), (0, 0, False)],
)
def test_an_event_is_refused_when_it_is_too_far_ahead(timestamp: int, most: int, refused: bool) -> None:
    kept = reject_future_events(batch(timestamp), Block(b"", arrived=CAME), most)
    assert (kept.timestamps.tolist(), kept.rejected, len(kept.rejects)) == (
        ([], 1, 1) if refused else ([timestamp], 0, 0)
    )
    assert kept.read == 1


def test_who_does_not_know_when_it_came_refuses_nothing() -> None:
    some = batch(2**37)
    assert reject_future_events(some, Block(b""), 0) is some


def test_a_refused_event_is_kept_with_the_reason_beside_other_rejects() -> None:
    lines = support.line("a", timestamp=CAME) + b"\n{}\n" + support.line("b", timestamp=CAME + 90) + b"\n"
    block = Block(lines, source="file", arrived=CAME, offset=7)
    kept = reject_future_events(block.decode(True, None), block, 60)
    assert support.batch_rows(kept) == [("a", "impressions", CAME)]
    assert (kept.read, kept.rejected) == (3, 2)
    _, reject = kept.rejects
    assert json.loads(reject.raw) == support.event("b", timestamp=CAME + 90)
    assert str(reject) == "file: byte 7: timestamp is 90 s ahead of its file or message"
