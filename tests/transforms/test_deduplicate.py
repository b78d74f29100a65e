"""Duplicates dropped by a shuffle or by state: on two engines, in streams, and in whole runs."""

import json
import tempfile
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing import test_stream as testing
from apache_beam.testing.util import assert_that
from apache_beam.transforms.window import TimestampedValue
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline import Batch, DecodeBlocks, DropDuplicates, HourlyTable, Job, find_files, hourly_table, run_job
from pipeline.engine.metrics import COUNTS, METRICS, KeepCounters, count, summarize
from pipeline.engine.run_state import run_state
from pipeline.engine.runners import beam_options
from pipeline.errors import MismatchError, RejectsError
from pipeline.formats.decoding import AnyBlock, Block
from pipeline.formats.messages import Message, group_messages
from pipeline.model.duplicates import merge_events
from pipeline.model.ids import _HEADER
from pipeline.model.settings import ReportSettings
from pipeline.model.tally import Summary
from pipeline.stream import StreamJob
from pipeline.stream.decode import DecodeStream
from pipeline.stream.graph import HourlyStream, hour_outputs
from pipeline.transforms import deduplicate
from pipeline.transforms.count import CountHours
from pipeline.transforms.deduplicate import DropStreamDuplicates
from tests import documents, oracle, support
from tests.documents import NEAR_DUPLICATES as EVENTS
from tests.documents import Events
from tests.support import EXAMPLE_EVENTS, event, on_both_runners, only

MANY = [event(f"id-{k % 700}", oracle.EVENTS[k % 3], 1617393003 + k % 2100 * 97) for k in range(6000)]


def rows(events: list[dict[str, Any]]) -> Events:
    return [(item["id"], item["event"], item["timestamp"]) for item in events]


def batches(pipeline: beam.Pipeline, blocks: list[bytes]) -> beam.PCollection[Batch]:
    return (pipeline | beam.Create(list(map(Block, blocks))) | DecodeBlocks()).batches


@on_both_runners
def test_a_batch_in_any_pipeline(runner: str) -> None:
    blocks = [support.json_lines(MANY[k : k + 500]) + b"no event\n" for k in range(0, 6000, 500)]
    different = [dict(zip(("id", "event", "timestamp"), row, strict=True)) for row in set(rows(MANY))]
    with support.beam_pipeline(runner) as pipeline:
        assert_that(batches(pipeline, blocks) | DropDuplicates() | HourlyTable(), only(hourly_table(different)))
    assert len(different) < 5000


def test_what_the_shuffle_loses_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_only(*pieces: bytes) -> Batch:
        _, count, size, width = _HEADER.unpack_from(pieces[0])
        return merge_events(pieces[0][: _HEADER.size + count * width + size])

    monkeypatch.setattr("pipeline.transforms.deduplicate.merge_events", first_only)
    blocks = [support.json_lines(EXAMPLE_EVENTS)] * 2
    with pytest.raises(MismatchError, match="read 12"), support.beam_pipeline() as pipeline:
        _ = batches(pipeline, blocks) | DropDuplicates() | HourlyTable()


def run_files(folder: Path, files: list[bytes], runner: str = "FnApiRunner", **options: Any) -> Summary:
    """A run with duplicates dropped, over files of these bytes."""
    (folder / "in").mkdir()
    for number, data in enumerate(files):
        (folder / "in" / f"{number}.json").write_bytes(data)
    inputs = tuple(find_files([str(folder / "in")]))
    report = ReportSettings(deduplicate=True)
    job = Job(inputs, str(folder / "report.csv"), report, ids_output=str(folder / "ids"), **options)
    return run_job(job, beam_options([f"--runner={runner}", support.NO_DOWNLOAD]))


@on_both_runners
def test_a_run(runner: str, tmp_path: Path) -> None:
    files = [json.dumps(EXAMPLE_EVENTS * 2).encode(), support.json_lines(EXAMPLE_EVENTS) + b"no event\n"]
    summary = run_files(tmp_path, files, runner, rejects_output=str(tmp_path / "rejects"))
    assert summary == Summary(read=19, counted=6, rejected=1, hours=3, duplicate=12)
    assert (tmp_path / "report.csv").read_text() == support.EXAMPLE_REPORT
    assert sorted((tmp_path / "ids").read_text().split()) == sorted(item["id"] for item in EXAMPLE_EVENTS)
    assert json.loads((tmp_path / "rejects").read_text())["raw"] == "no event"


def test_rejects_are_refused_and_counted_as_without(tmp_path: Path) -> None:
    with pytest.raises(RejectsError, match=r"2 of 8 records rejected: .*0.json: byte 0: .*; .*1.json: byte 0"):
        run_files(tmp_path, [b"{}\n" + support.json_lines(EXAMPLE_EVENTS[:3] * 2), b"{}"])


@settings(max_examples=5)
@given(st.lists(documents.events(), max_size=30), documents.SEEDS)
@example(events=MANY, seed=1)
def test_any_arrangement_of_doubled_events_gives_the_oracles_report(events: list[dict[str, Any]], seed: int) -> None:
    random = Random(seed)
    doubled = events + random.choices(events, k=len(events)) if events else []
    random.shuffle(doubled)
    different = oracle.without_duplicates(rows(events))
    with tempfile.TemporaryDirectory() as name:
        summary = run_files(Path(name), [support.json_lines(doubled[k::3]) for k in range(3)])
        report, ids = ((Path(name) / file).read_bytes().decode() for file in ("report.csv", "ids"))
    assert report == oracle.report(different)
    assert len(ids.split("\n")) - 1 == len(oracle.unique_ids(different))
    doubles = len(doubled) - len(different)
    assert summary == Summary(len(doubled), len(different), 0, report.count("\n") - 1, duplicate=doubles)


def message_block(events: list[dict[str, Any]], arrived: int) -> AnyBlock:
    (block,) = group_messages([Message("message", support.json_lines(events), arrived)])
    return block


def run_blocks(folder: Path, steps: list[Any], **options: Any) -> None:
    """Writes the hours of a stream of blocks (and watermarks, where a step is a number)."""
    stream = testing.TestStream()
    for step in steps:
        stream = stream.advance_watermark_to(step) if isinstance(step, int) else stream.add_elements(step)
    with beam.Pipeline("DirectRunner", PipelineOptions(["--streaming", support.NO_DOWNLOAD])) as pipeline:
        _ = pipeline | stream.advance_watermark_to_infinity() | HourlyStream(stream_job(folder, **options))


def stream_job(folder: Path, **options: Any) -> StreamJob:
    report = ReportSettings(deduplicate=True)
    return StreamJob(str(folder), report, ids_output=str(folder / "ids"), late_at_once=True, **options)


def test_a_stream(tmp_path: Path) -> None:
    """Doubles in a message, in the next ones, and redelivered when their hour is long over."""
    now = 1617400203 + 60
    first, second = message_block(EXAMPLE_EVENTS[:4] * 2, now), message_block(EXAMPLE_EVENTS[2:], now + 90)
    new = message_block([*EXAMPLE_EVENTS, event("new", "video_25", 1617385803)], now + 9000)
    run_blocks(tmp_path, [now, [first], [second, first], now + 9000, [first, new]])
    assert support.hourly_reports(tmp_path) == oracle.report(
        rows([*EXAMPLE_EVENTS, event("new", "video_25", 1617385803)])
    )
    assert sorted(" ".join(path.read_text() for path in (tmp_path / "ids").glob("*.txt")).split()) == sorted(
        ["new", *(item["id"] for item in EXAMPLE_EVENTS)]
    )


def test_the_counters_of_a_stream_account_for_each_record() -> None:
    """Not by TestStream, on whose engine a step counts its first bundle only."""
    end = 1617393600  # of the hour of event()
    on_time = [event(), event(), event("other"), {}]
    blocks = [
        message_block(on_time, end + 60),
        message_block(on_time, end + 61),
        message_block([event()] * 2, end + 601),
    ]
    pipeline = beam.Pipeline("FnApiRunner")
    job = StreamJob("out", ReportSettings(deduplicate=True), allowed_lateness_seconds=600)
    decoded = hour_outputs(pipeline | beam.Create(blocks), "Decode", DecodeStream(job))
    new, dropped = decoded["batches"] | DropStreamDuplicates(support.clock(), 600)
    counted = new | CountHours(support.clock()) | beam.Map(lambda hour: count(counted=sum(hour[1])))
    _ = (counted, decoded[COUNTS], *dropped) | beam.Flatten() | KeepCounters()
    result = pipeline.run()
    result.wait_until_finish()
    assert summarize(result, METRICS) == Summary(read=10, counted=2, rejected=2, hours=0, late=2, duplicate=4)


def test_a_stream_forgets_an_hour_when_its_lateness_is_over(tmp_path: Path) -> None:
    """What is found even then is late; here all is said to be found before, so it counts again: the state is gone."""
    end = 1617393600
    block = [TimestampedValue(message_block([event()], end), end)]
    steps = [block, end + 599, block, end + 660, block]
    for options, new in (({"allowed_lateness_seconds": 600}, 2), ({}, 1)):
        run_state.clear()
        run_blocks(tmp_path / str(new), steps, **options)
        assert (run_state.counted["counted"], run_state.counted["duplicate"]) == (new, 3 - new)


@settings(max_examples=5)
@given(st.lists(st.lists(EVENTS, max_size=3), max_size=4), st.integers(1, 3))
def test_any_stream_gives_the_oracles_report(bundles: list[list[Events]], most_sets: int) -> None:
    events = [item for bundle in bundles for part in bundle for item in part]
    names = ("id", "event", "timestamp")
    steps = [
        [message_block([dict(zip(names, row, strict=True)) for row in part], 10**9) for part in bundle if part]
        for bundle in bundles
    ]
    with tempfile.TemporaryDirectory() as name, mock.patch.object(deduplicate, "MAX_SETS", most_sets):
        run_blocks(Path(name), [step for step in steps if step], max_future_seconds=oracle.END_OF_TIME)
        assert support.hourly_reports(Path(name)) == oracle.report(oracle.without_duplicates(events))
