"""Streams that are played to the graph, and what came of them; for any engine that plays TestStream."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms.window import TimestampedValue

from pipeline import counters, streaming
from pipeline.coders import SizedCoder
from pipeline.decoding import AnyBlock, Block
from pipeline.hour_files import Version, WriteHours
from pipeline.report import Summary, summary_of
from pipeline.stream_job import StreamJob
from tests import oracle, support

HOUR = 1617390000
"""2021-04-02T20:00:00+01:00."""

Step = Callable[[TestStream], TestStream]


class Outcome(NamedTuple):
    """versions: each version that came to the sink of reports, and how many events it counts, in order of arrival.

    reports, ids: the folders' files by name; ids sorted. rejects: all that were kept.
    """

    versions: list[tuple[str, int]]
    reports: dict[str, str]
    ids: dict[str, list[str]]
    rejects: list[dict[str, Any]]
    summary: Summary


def arrive(*blocks: AnyBlock) -> Step:
    """Blocks that arrive together; their own timestamps do not matter."""
    return lambda stream: stream.add_elements([TimestampedValue(block, HOUR) for block in blocks])


def watermark(time: int) -> Step:
    """The watermark of the source moves, Unix seconds."""
    return lambda stream: stream.advance_watermark_to(time)


def wait(seconds: int) -> Step:
    """The clock moves."""
    return lambda stream: stream.advance_processing_time(seconds)


def block(*timestamps: int, arrived: int = 0) -> Block:
    """A block with an impression at each timestamp, of which the id tells."""
    return Block(support.json_lines(support.event(f"id-{t}", timestamp=t) for t in timestamps), arrived=arrived)


_versions: list[Version] = []  # of the stream that is played; workers are threads of this process


def _record(version: Version) -> Version:
    _versions.append(version)
    return version


class _Recorded(WriteHours):
    def expand(self, versions: beam.PCollection[Version]) -> beam.PCollection[str]:
        return super().expand(versions | "Record" >> beam.Map(_record).with_output_types(Version))


def play(folder: Path, steps: Sequence[Step], options: Sequence[str], **job: Any) -> Outcome:
    """Plays steps and then the end of all time. job: fields of StreamJob."""
    folders = {name: folder / name for name in ("output", "ids_output", "rejects_output")}
    for path in folders.values():
        path.mkdir(parents=True)
    stream = TestStream(coder=SizedCoder())
    for step in steps:
        stream = step(stream)
    _versions.clear()
    counters.totals.clear()
    pipeline = beam.Pipeline(options=PipelineOptions(["--streaming", *options]))
    with mock.patch.object(streaming, "WriteHours", _Recorded):
        blocks = pipeline | stream.advance_watermark_to_infinity()
        _ = blocks | streaming.HourlyStream(StreamJob(**{name: str(path) for name, path in folders.items()} | job))
    result = pipeline.run()
    result.wait_until_finish()
    return Outcome(
        [(name, version[0]) for name, version in _versions if name.endswith(".csv")],
        {path.name: path.read_text() for path in sorted(folders["output"].iterdir())},
        files_of_ids(folders["ids_output"]),
        [json.loads(row) for path in folders["rejects_output"].iterdir() for row in path.read_text().splitlines()],
        summary_of(counters.totals),
    )


def file_name(timestamp: int, minutes: int = 60) -> str:
    """The file of an hour, without its suffix, by the oracle's clock."""
    label = oracle.hour(timestamp, minutes)
    return label[:13] + label[19:].replace(":", "")


def reports_of(events: Sequence[oracle.Event], minutes: int = 60) -> dict[str, str]:
    """The files of reports that are right."""
    names = {file_name(timestamp, minutes) for _, _, timestamp in events}
    return {
        f"{name}.csv": oracle.report([e for e in events if file_name(e[2], minutes) == name], minutes)
        for name in sorted(names)
    }


def files_of_ids(folder: Path) -> dict[str, list[str]]:
    """The files of ids in a folder, their lines sorted."""
    return {path.name: sorted(path.read_text().split("\n")[:-1]) for path in sorted(folder.iterdir())}


def ids_of(events: Sequence[oracle.Event], minutes: int = 60) -> dict[str, list[str]]:
    """The files of ids that are right."""
    ids: dict[str, set[str]] = {}
    for identity, _, timestamp in events:
        ids.setdefault(f"{file_name(timestamp, minutes)}.txt", set()).add(identity)
    return {name: sorted(ids[name]) for name in sorted(ids)}


def impressions(*timestamps: int) -> list[oracle.Event]:
    """The events of `block`."""
    return [(f"id-{t}", "impressions", t) for t in timestamps]
