"""The graph of a stream on Beam's DirectRunner, with its own clock and watermark: exact panes and final files."""

import dataclasses
import functools
import itertools
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.testing import test_stream
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline import hourly_table, scale_impressions
from pipeline.formats.decoding import Block, BrokenBlock, Shape
from pipeline.formats.messages import Message, group_messages
from pipeline.model.events import Batch, Reject
from pipeline.model.settings import ReportSettings
from pipeline.model.table import csv_text
from pipeline.model.tally import Summary, expected_checksum
from pipeline.schema import Event
from pipeline.storage.files import InputFile
from pipeline.stream import StreamJob, graph, totals
from pipeline.stream.graph import GroupIntoIntervals, WriteRejects
from pipeline.stream.ledger import open_ledger
from pipeline.stream.totals import HOUR_EVENTS, ID_EVENTS
from pipeline.transforms.write import reject_lines
from tests import documents, oracle, streams, support
from tests.streams import HOUR, Outcome, Step, arrive, block, impressions, wait, watermark

DIRECT = ("--runner=BundleBasedDirectRunner",)
NAME = "2021-04-02T20+0100.csv"


def play(folder: Path, *steps: Step, **job: Any) -> Outcome:
    return streams.play(folder, steps, DIRECT, late_at_once=True, **job)


def check(outcome: Outcome, timestamps: Sequence[int], minutes: int = 60) -> None:
    """The final files hold one impression at each timestamp, and nothing else came."""
    events = impressions(*timestamps)
    assert outcome.reports == streams.reports_of(events, minutes)
    assert outcome.ids == streams.ids_of(events, minutes)
    assert outcome.rejects == []
    assert outcome.summary == Summary(len(events), len(events), 0, 0)


@pytest.mark.parametrize("name", streams.SCENARIOS)
def test_panes(name: str, tmp_path: Path) -> None:
    scenario = streams.SCENARIOS[name]
    streams.check(play(tmp_path, *scenario.steps, **scenario.job), scenario, late_at_once=True)


def test_early_panes_come_as_often_as_told(tmp_path: Path) -> None:
    steps = [step for k in range(3) for step in (arrive(block(HOUR + k)), wait(6))]
    outcome = play(tmp_path, watermark(HOUR), *steps, early_firing_seconds=5)
    assert outcome.versions[:3] == [(NAME, 1), (NAME, 2), (NAME, 3)]
    check(outcome, [HOUR, HOUR + 1, HOUR + 2])


def test_the_first_and_the_last_hour_of_time(tmp_path: Path) -> None:
    outcome = play(tmp_path, watermark(0), arrive(block(0, 253402297199)), utc_offset="+00:00")
    assert sorted(outcome.reports) == ["1970-01-01T00+0000.csv", "9999-12-31T22+0000.csv"]


def test_no_events_make_no_files(tmp_path: Path) -> None:
    outcome = play(tmp_path, watermark(HOUR), wait(1000), arrive(Block(b"\n")), watermark(HOUR + 9000))
    assert outcome == Outcome([], {}, {}, [], [], Summary(0, 0, 0, 0))


def test_events_of_the_future_are_rejects(tmp_path: Path) -> None:
    blocks = [block(HOUR, HOUR + 100, arrived=HOUR), block(HOUR + 86401, arrived=HOUR)]
    outcome = play(tmp_path, arrive(*blocks))
    assert outcome.summary == Summary(3, 2, 1, 0)
    assert list(outcome.reports) == ["2021-04-02T20+0100.csv"]
    outcome = play(tmp_path / "strict", arrive(*blocks), max_future_seconds=99, deduplicate=True)
    assert outcome.summary == Summary(3, 1, 2, 0)
    assert {reject["reason"] for reject in outcome.rejects} == {
        "timestamp is 100 s ahead of its file or message",
        "timestamp is 86401 s ahead of its file or message",
    }


def test_equal_late_events_of_two_blocks_are_kept_both(tmp_path: Path) -> None:
    twice = [dataclasses.replace(block(HOUR, arrived=HOUR + 3601), offset=offset) for offset in (0, 4096)]
    outcome = play(tmp_path, arrive(*twice), allowed_lateness_seconds=0)
    assert sorted(reject["offset"] for reject in outcome.rejects) == [0, 4096]


def test_nothing_that_comes_in_stops_the_stream(tmp_path: Path) -> None:
    broken = BrokenBlock("gone.jsonl", "gone.jsonl: cannot be read: no such file")
    no_array = Block(b'{"id": "a"} {"id": "b"}\n', Shape.ELEMENTS, "array.json")
    lines = Block(b"x\n" + support.line(timestamp=HOUR) + b"\n{}\n", source="lines.jsonl")
    data = {"m1": support.line("b", timestamp=HOUR), "m2": b"[", "m3": b"[]"}
    messages = [Message(name, message, HOUR) for name, message in data.items()]
    outcome = play(tmp_path, watermark(HOUR), arrive(broken, no_array, lines, *group_messages(messages)))
    assert outcome.summary == Summary(7, 2, 5, 0)
    assert {(reject["source"], reject["offset"]) for reject in outcome.rejects} == {
        ("gone.jsonl", 0),
        ("array.json", 0),
        ("lines.jsonl", 0),
        ("lines.jsonl", len(support.line(timestamp=HOUR)) + 3),
        ("m2", 0),
    }
    assert outcome.ids == {"2021-04-02T20+0100.txt": ["a", "b"]}


def test_where_rejects_are_not_kept_they_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outcome = play(
        tmp_path,
        watermark(HOUR),
        arrive(Block(b"x\n" * 12 + support.line(timestamp=HOUR), source="bad.jsonl")),
        rejects_output=None,
    )
    assert outcome.summary == Summary(13, 1, 12, 0)
    (warning,) = [record.message for record in caplog.records if record.name.startswith("pipeline")]
    assert warning.startswith("12 of 12 records rejected: bad.jsonl: byte 0: not JSON")
    assert "and 2 more" in warning


def test_ids_are_unique_within_the_hour(tmp_path: Path) -> None:
    first, second = (
        Block(support.json_lines(support.event("a", timestamp=t) for t in ts))
        for ts in ((HOUR, HOUR), (HOUR + 1, HOUR + 3600))
    )
    outcome = play(tmp_path, watermark(HOUR), arrive(first), wait(61), arrive(second), arrive(first))
    assert outcome.ids == {"2021-04-02T20+0100.txt": ["a"], "2021-04-02T21+0100.txt": ["a"]}
    assert outcome.summary.counted == 6


def test_a_bundle_with_more_ids_than_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals, "_FLUSH_BYTES", 30)
    times = [HOUR + k for k in range(12)]
    blocks = [block(*times[k : k + 3]) for k in range(0, 12, 3)]
    options = {"allowed_lateness_seconds": 60}
    outcome = play(tmp_path, watermark(HOUR), arrive(*blocks), watermark(HOUR + 3662), **options)
    check(outcome, times)
    assert outcome.finals == ["2021-04-02T20+0100"]


def test_how_many_ids_came_is_told_at_the_time_they_were_found() -> None:
    """Their hour may be long over, and what is behind the watermark does not hold it until it was added up."""
    split, window = totals.SumHours(StreamJob("out", ids_output="ids")), GlobalWindow()
    split.start_bundle()
    batches = {50: [HOUR, HOUR], 40: [HOUR + 1, HOUR + 3600]}
    outputs = []
    for when, times in batches.items():
        batch = Batch.of([Event("a", 0, time) for time in times], want_ids=True)
        outputs += split.process(batch, Timestamp(when), window)
    outputs += split.finish_bundle()
    came = {tag: [output.value for output in outputs if output.tag == tag] for tag in (HOUR_EVENTS, ID_EVENTS)}
    assert {tag: [(sum_.value, float(sum_.timestamp)) for sum_ in sums] for tag, sums in came.items()} == {
        HOUR_EVENTS: [((HOUR, 3), 40.0), ((HOUR + 3600, 1), 40.0)],
        ID_EVENTS: [(((HOUR, 0), 3), 40.0), (((HOUR + 3600, 0), 1), 40.0)],
    }


KEPT: list[dict[str, Any]] = [{}, {"ledger": True}, {"allowed_lateness_seconds": 60, "id_shards": 4}]
JOBS = [
    StreamJob("out"),
    StreamJob("out", rejects_output="bad", allowed_lateness_seconds=60, late_at_once=True),
    *(
        StreamJob("out", ReportSettings(deduplicate=deduplicate), ids_output="ids", rejects_output="bad", **options)
        for deduplicate, options in itertools.product([False, True], [*KEPT, KEPT[1] | KEPT[2]])
    ),
]


@functools.cache
def proto(job: StreamJob) -> beam_runner_api_pb2.Components:
    """The parts of the job's graph, without its source."""
    pipeline = beam.Pipeline("FnApiRunner", PipelineOptions(["--streaming"]))
    _ = pipeline | beam.Create([block(HOUR)]) | "Hourly reports" >> graph.HourlyStream(job)
    return pipeline.to_runner_api().components


@pytest.mark.parametrize("job", JOBS)
def test_what_flows_together_is_coded_alike(job: StreamJob) -> None:
    """Engines take over the bytes."""
    parts = proto(job)
    flattens = [one for one in parts.transforms.values() if one.spec.urn == common_urns.primitives.FLATTEN.urn]
    assert flattens
    for flatten in flattens:
        names = [*flatten.inputs.values(), *flatten.outputs.values()]
        coders = {parts.coders[parts.pcollections[name].coder_id].SerializeToString() for name in names}
        windowings = {parts.pcollections[name].windowing_strategy_id for name in names}
        assert (len(coders), len(windowings)) == (1, 1), flatten.unique_name


@pytest.mark.parametrize("job", JOBS)
def test_what_a_stateful_step_reads_is_read_by_no_other(job: StreamJob) -> None:
    """Else Flink's operators are told apart by the order of a set, and a savepoint is restored to the wrong one."""
    leaves = [one for one in proto(job).transforms.values() if not one.subtransforms]
    readers = Counter(name for one in leaves for name in one.inputs.values())
    stateful = [one for one in leaves if is_stateful(one)]
    assert stateful
    for one in stateful:
        assert [readers[name] for name in one.inputs.values()] == [1], one.unique_name


def is_stateful(transform: beam_runner_api_pb2.PTransform) -> bool:
    if transform.spec.urn != common_urns.primitives.PAR_DO.urn:
        return False
    payload = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)
    return bool(payload.state_specs or payload.timer_family_specs)


def test_the_time_of_a_start_is_not_part_of_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is submitted again, to go on from its state, must not open its hours once more."""
    job = StreamJob("out", ids_output="ids", rejects_output="bad", allowed_lateness_seconds=60, patterns=("in",))
    found = []
    for now in (HOUR, HOUR + 10**6):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        pipeline = beam.Pipeline("FnApiRunner", PipelineOptions(["--streaming"]))
        _ = pipeline | "Source" >> graph.ReadStream(job) | "Hourly reports" >> graph.HourlyStream(job)
        transforms = pipeline.to_runner_api().components.transforms.values()
        steps = [one for one in transforms if one.spec.urn == common_urns.primitives.PAR_DO.urn]
        found.append({one.unique_name: one.spec.payload for one in steps})
    assert found[0] == found[1]


def test_ids_in_parts_are_given_back_too(tmp_path: Path) -> None:
    """Each part has a number of its own to reach."""
    times = [HOUR + k for k in range(40)]
    steps = [step for k in range(0, 40, 10) for step in (arrive(block(*times[k : k + 10])), wait(61))]
    late = arrive(block(HOUR, arrived=HOUR), found=HOUR + 3662)
    options = {"id_shards": 4, "allowed_lateness_seconds": 60}
    outcome = play(tmp_path, watermark(HOUR), *steps, watermark(HOUR + 3662), late, **options)
    assert sorted(outcome.ids) == [f"2021-04-02T20+0100-{part}-of-4.txt" for part in range(4)]
    assert sorted(line for lines in outcome.ids.values() for line in lines) == [f"id-{time}" for time in times]
    assert (len(outcome.ids), outcome.finals, len(outcome.rejects)) == (4, ["2021-04-02T20+0100"], 1)


@pytest.mark.parametrize("deduplicate", [True, False])
def test_a_stream_that_goes_on_leaves_final_hours_as_they_are(deduplicate: bool, tmp_path: Path) -> None:
    """And closes those that were open when an earlier run ended, by what all have read."""
    options = {"ledger": True, "deduplicate": deduplicate, "allowed_lateness_seconds": 60}
    hours = ["2021-04-02T20+0100", "2021-04-02T21+0100", "2021-04-02T22+0100"]
    runs = [
        (HOUR + 3661, [HOUR, HOUR + 1, HOUR + 7200], hours[:1]),
        (HOUR + 3662, [HOUR + 2, HOUR + 3600, HOUR + 7201], hours[:1]),
        (HOUR + 99_999, [HOUR + 3], hours),
    ]
    (tmp_path / "output").mkdir()
    reports = []
    for number, (now, times, finals) in enumerate(runs):
        name = f"{number}.jsonl"
        whole = dataclasses.replace(block(*times), source=name, coverage_delta=expected_checksum([name]))
        with (
            open_ledger(f"{tmp_path}/output", {}) as ledger,
            mock.patch.object(totals, "steady_time", lambda now=now: now),
        ):
            ledger.start_file(InputFile(name, 1, name), name.encode(), now)
            outcome = play(tmp_path, arrive(whole, found=HOUR), watermark(HOUR + 3661), **options)
        assert outcome.finals == finals
        reports.append((tmp_path / "output" / NAME).stat().st_ino)
    assert len(set(reports)) == 1
    events = impressions(HOUR, HOUR + 1, HOUR + 7200, HOUR + 3600, HOUR + 7201)
    assert outcome.reports == streams.reports_of(events)
    assert outcome.ids == streams.ids_of(events)
    assert outcome.summary == Summary(7, 5, 0, 0, late=2)
    assert [reject["reason"] for reject in outcome.rejects] == [
        "late: found -3600 s after the end of its hour 2021-04-02T20:00:00+01:00, which was closed, "
        "although written in time"
    ] * 2


def arrangement(events: list[dict[str, Any]], random: Random) -> list[Step]:
    """Events in any order and batching, with any moves of the clock and the watermark between them."""
    shuffled = random.sample(events, len(events))
    now = random.choice([0, HOUR, 2**33])
    steps = [watermark(now)]
    while shuffled:
        parts = [shuffled[:3], shuffled[3:5]]
        del shuffled[:5]
        blocks = [Block(support.json_lines(part)) for part in parts[: random.randint(1, 2)]]
        shuffled += parts[1] if len(blocks) == 1 else []
        steps.append(arrive(*blocks))
        if random.random() < 0.3:
            steps.append(wait(random.choice([1, 59, 61])))
        if random.random() < 0.3:
            now += random.choice([1, 3600, 10**8])
            steps.append(watermark(now))
    return [*steps, wait(3600)]  # DirectRunner never ends with a firing still to come on its own clock


@settings(max_examples=5)
@given(st.lists(documents.events(), max_size=20), documents.SEEDS, st.sampled_from([("+01:00", 60), ("+05:30", 330)]))
@example(
    events=[support.event(f"i{k % 7}", oracle.EVENTS[k % 6], HOUR + k * 599) for k in range(40)],
    seed=1,
    zone=("-03:30", -210),
)
def test_any_arrangement_ends_with_the_report_of_the_batch(
    events: list[dict[str, Any]], seed: int, zone: tuple[str, int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        outcome = play(Path(folder), *arrangement(events, Random(seed)), utc_offset=zone[0])
    rows = [(item["id"], item["event"], item["timestamp"]) for item in events]
    assert outcome.reports == streams.reports_of(rows, zone[1])
    ids = streams.ids_of(rows, zone[1])
    assert outcome.ids == {name: sorted(oracle.id_line(one)[:-1] for one in ids[name]) for name in ids}
    assert outcome.summary == Summary(len(rows), len(rows), 0, 0)
    table = scale_impressions(hourly_table(events, zone[0]))
    assert [outcome.reports[name] for name in sorted(outcome.reports)] == [csv_text([row]) for row in table]


@pytest.mark.parametrize("ledger", [False, True])
def test_stages_that_send_nothing_declare_a_timer(ledger: bool) -> None:
    """Prism waits until a bundle's timers have come; while it waits for one that sends nothing, it takes a core."""
    job = StreamJob("out", ids_output="ids", rejects_output="bad", ledger=ledger)
    transforms = proto(job).transforms.values()
    read = {name for one in transforms if not one.subtransforms for name in one.inputs.values()}
    ends = [
        one
        for one in transforms
        if one.spec.urn == common_urns.primitives.PAR_DO.urn and not read.intersection(one.outputs.values())
    ]
    assert sorted(one.unique_name for one in ends if is_stateful(one)) == sorted(one.unique_name for one in ends)
    assert len(ends) == 3


def test_rejects_of_many_blocks_are_few_files(tmp_path: Path) -> None:
    rejects = [Reject(f"file {k}", 0, None, "no event", "x") for k in range(300)]
    pairs = [(0, reject_lines([reject])[1]) for reject in rejects]
    job = StreamJob(str(tmp_path / "out"), rejects_output=str(tmp_path / "bad"))
    with streams.direct() as pipeline:
        _ = pipeline | beam.Create(pairs, reshuffle=False) | WriteRejects(job)
    paths = list((tmp_path / "bad").iterdir())
    lines = [line for path in paths for line in path.read_text().splitlines()]
    assert sorted(lines) == sorted(json.dumps(dataclasses.asdict(reject)) for reject in rejects)
    assert (len(paths), {path.suffix for path in paths}) == (1, {".jsonl"})


def gathered(steps: Callable[[test_stream.TestStream], test_stream.TestStream]) -> list[list[int]]:
    values: list[list[int]] = []
    with streams.direct() as pipeline:
        numbers = pipeline | steps(test_stream.TestStream()).advance_watermark_to_infinity()
        pairs = numbers | beam.Map(lambda number: (None, number)).with_output_types(tuple[None, int])
        _ = pairs | GroupIntoIntervals(60) | beam.Values() | beam.Map(support.Collect(values))
    return [sorted(pane) for pane in values]


def test_what_comes_within_some_seconds_is_gathered() -> None:
    panes = gathered(
        lambda stream: (
            stream.add_elements([1])
            .advance_processing_time(59)
            .add_elements([2])
            .advance_processing_time(2)
            .add_elements([3])
            .advance_processing_time(30)
            .add_elements([4])
        )
    )
    assert panes == [[1, 2], [3, 4]]
