"""Streams that are played to the graph, and what came of them; for any engine that plays TestStream."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.direct import executor
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms.window import TimestampedValue

from pipeline.engine.coders import SizedCoder
from pipeline.engine.metrics import summary_of
from pipeline.engine.run_state import run_state
from pipeline.formats.decoding import AnyBlock, Block
from pipeline.model.tally import Summary
from pipeline.stream import StreamJob, totals
from pipeline.stream import graph as streaming
from tests import oracle, support

HOUR = 1617390000
"""2021-04-02T20:00:00+01:00."""

Step = Callable[[TestStream], TestStream]


class Outcome(NamedTuple):
    """versions: each version of a report that was written, and how many events it counts, in order.

    reports, ids: the folders' files by name; ids sorted. finals: hours marked as final. rejects: all that were written.
    """

    versions: list[tuple[str, int]]
    reports: dict[str, str]
    ids: dict[str, list[str]]
    finals: list[str]
    rejects: list[dict[str, Any]]
    summary: Summary


def arrive(*blocks: AnyBlock, found: int = HOUR) -> Step:
    """Blocks that arrive together. found: when, by the clock of the watermark; of account where hours close."""
    return lambda stream: stream.add_elements([TimestampedValue(block, found) for block in blocks])


def watermark(time: int) -> Step:
    """The watermark of the source moves, Unix seconds."""
    return lambda stream: stream.advance_watermark_to(time)


def wait(seconds: int) -> Step:
    """The clock moves."""
    return lambda stream: stream.advance_processing_time(seconds)


def block(*timestamps: int, arrived: int = 0) -> Block:
    """A block with an impression at each timestamp, of which the id tells."""
    return Block(support.json_lines(support.event(f"id-{t}", timestamp=t) for t in timestamps), arrived=arrived)


def play(folder: Path, steps: Sequence[Step], options: Sequence[str], **job: Any) -> Outcome:
    """Plays steps and then the end of all time. job: fields of StreamJob, or of its ReportSettings."""
    folders = {name: folder / name for name in ("output", "ids_output", "rejects_output")}
    for path in folders.values():
        path.mkdir(parents=True, exist_ok=True)
    stream = TestStream(coder=SizedCoder(AnyBlock))
    for step in steps:
        stream = step(stream)
    run_state.clear()
    pipeline = beam.Pipeline(options=PipelineOptions(["--streaming", *options]))
    blocks = pipeline | stream.advance_watermark_to_infinity()
    paths = {name: str(path) for name, path in folders.items()}
    _ = blocks | streaming.HourlyStream(StreamJob(**support.with_report(paths | job)))
    versions: list[tuple[str, int]] = []
    sound = totals.write_file

    def write(folder: str, name: str, token: str, data: bytes) -> str:
        if name.endswith(".csv"):
            versions.append((name, sum(map(int, data.split(b"\n")[1].split(b",")[1:-1]))))
        return sound(folder, name, token, data)

    # DirectRunner's threads wait so many seconds for work before they notice that it has ended: 3 s a test.
    soon = mock.patch.object(executor._ExecutorService._ExecutorServiceWorker, "TIMEOUT", 0.05)
    with soon, mock.patch.object(totals, "write_file", write):  # workers are threads of this process
        pipeline.run().wait_until_finish()
    return Outcome(
        versions,
        {path.name: path.read_text() for path in sorted(folders["output"].glob("*.csv"))},
        files_of_ids(folders["ids_output"]),
        sorted(path.stem for path in folders["output"].glob("*.final") if not path.read_bytes()),
        [json.loads(row) for path in folders["rejects_output"].iterdir() for row in path.read_text().splitlines()],
        summary_of(run_state.counted),
    )


def direct() -> beam.Pipeline:
    """A stream on the engine here that knows triggers by the clock."""
    return beam.Pipeline("BundleBasedDirectRunner", PipelineOptions(["--streaming"]))


def file_name(timestamp: int, zone: oracle.Zone = 60) -> str:
    """The file of an hour, without its suffix, by the oracle's clock."""
    label = oracle.hour(timestamp, zone)
    return label[:13] + label[19:].replace(":", "")


def reports_of(events: Sequence[oracle.Event], zone: oracle.Zone = 60) -> dict[str, str]:
    """The files of reports that are right."""
    names = {file_name(timestamp, zone) for _, _, timestamp in events}
    return {
        f"{name}.csv": oracle.report([e for e in events if file_name(e[2], zone) == name], zone)
        for name in sorted(names)
    }


def files_of_ids(folder: Path) -> dict[str, list[str]]:
    """The files of ids in a folder, their lines sorted."""
    return {path.name: sorted(path.read_text().split("\n")[:-1]) for path in sorted(folder.iterdir())}


def ids_of(events: Sequence[oracle.Event], zone: oracle.Zone = 60) -> dict[str, list[str]]:
    """The files of ids that are right."""
    ids: dict[str, set[str]] = {}
    for identity, _, timestamp in events:
        ids.setdefault(f"{file_name(timestamp, zone)}.txt", set()).add(identity)
    return {name: sorted(ids[name]) for name in sorted(ids)}


def impressions(*timestamps: int) -> list[oracle.Event]:
    """The events of `block`."""
    return [(f"id-{t}", "impressions", t) for t in timestamps]


def check(outcome: Outcome, scenario: "Scenario", late_at_once: bool = False, early_or_later: bool = False) -> None:
    """All panes, the last files, and counts that account for all that came.

    early_or_later: an event may be in the pane before or after its own; there are as many panes, and they grow.
    """
    events = impressions(*scenario.times)
    panes: dict[str, list[int]] = {}
    for name, held in outcome.versions:
        panes.setdefault(name, []).append(held)
    expected = scenario.at_once if late_at_once and scenario.at_once else scenario.panes
    if early_or_later:
        assert _paces(panes) == _paces(expected)
    else:
        assert panes == expected
    assert outcome.reports == reports_of(events, scenario.zone)
    assert outcome.ids == ids_of(events, scenario.zone)
    assert outcome.finals == scenario.finals
    assert [reject["reason"].startswith("late: ") for reject in outcome.rejects] == [True] * scenario.late
    assert outcome.summary == Summary(
        len(events) + scenario.late + scenario.duplicate,
        len(events),
        0,
        0,
        late=scenario.late,
        duplicate=scenario.duplicate,
    )


def _paces(panes: dict[str, list[int]]) -> dict[str, tuple[int, int, bool]]:
    """Of each file how many panes there are, of how many events the last is, and whether each is more."""
    return {name: (len(sizes), sizes[-1], sizes == sorted(set(sizes))) for name, sizes in panes.items()}


class Scenario(NamedTuple):
    """A stream to play, and what must come of it on any engine.

    times: of the impressions that are counted. panes: how many events of an hour each of its reports counts, in turn.
    late, duplicate: how many events are not counted. finals: hours marked as final. job: fields of StreamJob. at_once:
    panes where late events are reported as they come, if others.
    """

    steps: Sequence[Step]
    times: Sequence[int]
    panes: dict[str, list[int]]
    late: int = 0
    duplicate: int = 0
    zone: oracle.Zone = 60
    job: dict[str, Any] = {}  # noqa: RUF012
    at_once: dict[str, list[int]] | None = None
    finals: list[str] = []  # noqa: RUF012


_HALF, _END = HOUR + 1800, HOUR + 3600
_MIXED = [HOUR + 7200, HOUR, _END, HOUR + 7201, HOUR - 3600, HOUR + 1]
_MIXED_PANES = {
    "2021-04-02T19+0100.csv": [1],
    "2021-04-02T20+0100.csv": [2],
    "2021-04-02T21+0100.csv": [1],
    "2021-04-02T22+0100.csv": [2],
}
_AUTUMN = 1635638400  # 2021-10-31T02:00:00+02:00, and an hour later 02:00:00+01:00, in Paris
_SPRING = 1616889600  # 2021-03-28T01:00:00+01:00, and an hour later 03:00:00+02:00, in Paris
_AGES = 2_000_000_000  # later than this machine's clock
_AROUND_HALVES = [HOUR, _HALF - 1, _HALF, _HALF + 1799, _HALF + 1800, _HALF + 3599, _HALF + 3600]

_CLOSING = [
    watermark(HOUR),
    arrive(block(HOUR, arrived=_END), found=HOUR),
    watermark(_END + 30),
    arrive(block(HOUR + 1, arrived=_END), found=_END + 30),
    wait(61),
    arrive(block(HOUR + 2, arrived=_END), block(_END, arrived=_END), found=_END + 60),  # in time, for a late pane
    watermark(_END + 62),
    arrive(block(HOUR, arrived=_END), found=_END + 62),  # a copy, after the hour was closed
    wait(61),
]

SCENARIOS = {
    "early, on time and late": Scenario(
        [
            watermark(HOUR),
            arrive(block(HOUR + 1, HOUR + 2)),
            wait(30),
            arrive(block(HOUR + 3)),
            wait(31),  # 60 s after the first: early
            arrive(block(HOUR + 4), block(HOUR + 5)),
            wait(61),  # early again
            arrive(block(HOUR + 6)),
            watermark(_END),  # on time
            arrive(block(HOUR + 7)),  # late
            wait(61),
            arrive(block(HOUR + 8)),  # late
            wait(30),
            arrive(block(HOUR + 9)),  # late, with the one before
        ],
        range(HOUR + 1, HOUR + 10),
        {"2021-04-02T20+0100.csv": [3, 5, 6, 7, 9]},
        at_once={"2021-04-02T20+0100.csv": [3, 5, 6, 7, 8, 9]},
    ),
    "out of order": Scenario([watermark(HOUR - 7200), *(arrive(block(time)) for time in _MIXED)], _MIXED, _MIXED_PANES),
    "a jump over empty hours": Scenario(
        [watermark(HOUR), arrive(block(HOUR, HOUR + 10800)), watermark(HOUR + 90_000), arrive(block(HOUR + 1))],
        [HOUR, HOUR + 10800, HOUR + 1],
        {"2021-04-02T20+0100.csv": [1, 2], "2021-04-02T23+0100.csv": [1]},
    ),
    "+05:30": Scenario(
        [watermark(HOUR - 7200), arrive(block(*_AROUND_HALVES))],
        _AROUND_HALVES,
        {"2021-04-03T00+0530.csv": [2], "2021-04-03T01+0530.csv": [4], "2021-04-03T02+0530.csv": [1]},
        zone=330,
        job={"utc_offset": "+05:30"},
    ),
    "the end of an hour of +05:30": Scenario(
        [watermark(HOUR), arrive(block(_HALF - 1, _HALF)), watermark(_HALF), arrive(block(_HALF - 2)), wait(1)],
        [_HALF - 1, _HALF, _HALF - 2],
        {"2021-04-03T00+0530.csv": [1, 2], "2021-04-03T01+0530.csv": [1]},
        zone=330,
        job={"utc_offset": "+05:30"},
    ),
    "the end of an hour of +05:45": Scenario(
        [watermark(HOUR), arrive(block(HOUR + 1)), arrive(block(HOUR + 899, HOUR + 900)), watermark(HOUR + 900)],
        [HOUR + 1, HOUR + 899, HOUR + 900],
        {"2021-04-03T00+0545.csv": [2], "2021-04-03T01+0545.csv": [1]},
        zone=345,
        job={"utc_offset": "+05:45"},
    ),
    "clocks put back": Scenario(
        [
            watermark(_AUTUMN - 3600),
            arrive(block(_AUTUMN - 1, _AUTUMN, _AUTUMN + 3599, _AUTUMN + 3600)),
            watermark(_AUTUMN + 3600),  # the end of the first 02:00 to 03:00, not of the second
            arrive(block(_AUTUMN + 3601, _AUTUMN + 7199, _AUTUMN + 7200)),
            watermark(_AUTUMN + 7200),
            arrive(block(_AUTUMN + 1)),
        ],
        [_AUTUMN + second for second in (-1, 0, 3599, 3600, 3601, 7199, 7200, 1)],
        {
            "2021-10-31T01+0200.csv": [1],
            "2021-10-31T02+0200.csv": [2, 3],
            "2021-10-31T02+0100.csv": [3],
            "2021-10-31T03+0100.csv": [1],
        },
        zone="Europe/Paris",
        job={"time_zone": "Europe/Paris"},
    ),
    "clocks put forward": Scenario(
        [
            watermark(_SPRING),
            arrive(block(_SPRING, _SPRING + 3599, _SPRING + 3600)),
            watermark(_SPRING + 3600),
            arrive(block(_SPRING + 7199, _SPRING + 1, _SPRING + 7200)),
        ],
        [_SPRING + second for second in (0, 3599, 3600, 7199, 1, 7200)],
        {"2021-03-28T01+0100.csv": [2, 3], "2021-03-28T03+0200.csv": [2], "2021-03-28T04+0200.csv": [1]},
        zone="Europe/Paris",
        job={"time_zone": "Europe/Paris"},
    ),
    "too late in an autumn night": Scenario(
        [
            watermark(_AUTUMN),
            arrive(block(_AUTUMN, arrived=_AUTUMN + 3660)),
            arrive(block(_AUTUMN + 1, _AUTUMN + 3600, arrived=_AUTUMN + 3661)),
        ],
        [_AUTUMN, _AUTUMN + 3600],
        {"2021-10-31T02+0200.csv": [1], "2021-10-31T02+0100.csv": [1]},
        late=1,
        zone="Europe/Paris",
        job={"time_zone": "Europe/Paris", "allowed_lateness_seconds": 60, "deduplicate": True},
        finals=["2021-10-31T02+0100", "2021-10-31T02+0200"],
    ),
    "too late": Scenario(
        [
            watermark(HOUR + 10**9),  # of no account: what counts is when it arrived
            arrive(block(HOUR, arrived=_END + 60)),
            arrive(block(HOUR + 1, _END, arrived=_END + 61)),
        ],
        [HOUR, _END],
        {"2021-04-02T20+0100.csv": [1], "2021-04-02T21+0100.csv": [1]},
        late=1,
        job={"allowed_lateness_seconds": 60},
        finals=["2021-04-02T20+0100", "2021-04-02T21+0100"],
    ),
    "a copy that was written in time and is found when its hour has been closed": Scenario(
        [
            watermark(HOUR),
            arrive(block(HOUR, arrived=_END + 60), found=HOUR),
            arrive(block(HOUR, HOUR + 1, arrived=_END + 60), found=_END + 60),  # a duplicate, and one in time
            watermark(_END + 62),
            arrive(block(HOUR, arrived=_END + 60), block(HOUR + 7200, arrived=_END), found=_END + 61),
        ],
        [HOUR, HOUR + 1, HOUR + 7200],
        {"2021-04-02T20+0100.csv": [2], "2021-04-02T22+0100.csv": [1]},
        late=1,
        duplicate=1,
        job={"allowed_lateness_seconds": 60, "deduplicate": True},
        finals=["2021-04-02T20+0100", "2021-04-02T22+0100"],
    ),
    "an hour is final once nothing can change it": Scenario(
        _CLOSING,
        [HOUR, HOUR + 1, HOUR + 2, _END],
        {"2021-04-02T20+0100.csv": [1, 2, 3], "2021-04-02T21+0100.csv": [1]},
        late=1,
        job={"allowed_lateness_seconds": 60},
        finals=["2021-04-02T20+0100", "2021-04-02T21+0100"],
    ),
    "final, with duplicates dropped": Scenario(
        _CLOSING,
        [HOUR, HOUR + 1, HOUR + 2, _END],
        {"2021-04-02T20+0100.csv": [1, 3], "2021-04-02T21+0100.csv": [1]},
        late=1,
        job={"allowed_lateness_seconds": 60, "deduplicate": True},
        at_once={"2021-04-02T20+0100.csv": [1, 2, 3], "2021-04-02T21+0100.csv": [1]},
        finals=["2021-04-02T20+0100", "2021-04-02T21+0100"],
    ),
    "what is open when the stream is stopped is not final": Scenario(
        [watermark(HOUR), arrive(block(HOUR), found=HOUR), arrive(block(_AGES), found=HOUR)],
        [HOUR, _AGES],
        {"2021-04-02T20+0100.csv": [1], "2033-05-18T04+0100.csv": [1]},
        job={"allowed_lateness_seconds": 60},
        finals=["2021-04-02T20+0100"],
    ),
}
