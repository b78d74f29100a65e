"""Helpers of the tests."""

import contextlib
import dataclasses
import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing import test_pipeline

from pipeline import BatchEvents, Job, find_files
from pipeline.cli.main import main
from pipeline.engine import logs
from pipeline.engine.logs import plural
from pipeline.errors import InputError
from pipeline.formats import blocks
from pipeline.formats.blocks import read_blocks
from pipeline.formats.decoding import Block
from pipeline.model.events import Batch, Reject
from pipeline.model.hours import HourClock
from pipeline.model.settings import ReportSettings
from pipeline.native import loader as native
from pipeline.schema import EVENT_TYPES
from tests import oracle

ROOT = Path(__file__).resolve().parent.parent

HEADER = "hour,impressions,video_start,video_25,video_50,video_75,video_completed,impressions_scaled\n"

EXAMPLE_EVENTS = [
    {"id": "c8e3-ace6-4852-a32f", "event": "video_25", "timestamp": 1617393003},
    {"id": "af77-79b6-4fe6-8645", "event": "video_25", "timestamp": 1617400203},
    {"id": "75c3-2a09-4ac6-a38a", "event": "video_25", "timestamp": 1617385803},
    {"id": "a6dc-030b-4fb5-891d", "event": "video_50", "timestamp": 1617400203},
    {"id": "9919-b79c-4897-b3e4", "event": "video_completed", "timestamp": 1617400203},
    {"id": "d008-a738-45f3-a3fb", "event": "video_start", "timestamp": 1617385803},
]

EXAMPLE_REPORT = HEADER + (
    "2021-04-02T18:00:00+01:00,0,1,1,0,0,0,0.0\n"
    "2021-04-02T20:00:00+01:00,0,0,1,0,0,0,0.0\n"
    "2021-04-02T22:00:00+01:00,0,0,1,1,0,1,0.0\n"
)

DECODERS = ("compiled", "strict")

BROKEN = "broken"
"""The outcome of a source that is an error as a whole."""

Outcome = tuple[list[oracle.Event], list[oracle.Position]] | str


def with_report(options: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of a job; those of its ReportSettings are gathered in `report`."""
    names = {field.name for field in dataclasses.fields(ReportSettings)}
    report = {name: value for name, value in options.items() if name in names}
    return {"report": ReportSettings(**report)} | {name: options[name] for name in options.keys() - names}


def copy_of_clone(target: Path) -> Path:
    """Copies what a clone holds, as it is in this tree; the target."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    return target


@contextlib.contextmanager
def decoder(name: str) -> Iterator[None]:
    """All work goes to compiled code, however small, or to plain Python ("strict")."""
    with mock.patch.object(native, "should_use", lambda _, size: size > 0 and name == "compiled"):
        yield


def event(identity: str = "a", kind: str = "impressions", timestamp: int = 1617393003) -> dict[str, Any]:
    """One event as a dict."""
    return {"id": identity, "event": kind, "timestamp": timestamp}


def line(identity: str = "a", kind: str = "impressions", timestamp: int = 1617393003) -> bytes:
    """One event as a line of JSON Lines, without its end."""
    return json.dumps(event(identity, kind, timestamp)).encode()


def json_lines(events: Iterable[Any]) -> bytes:
    """JSON Lines."""
    return b"".join(json.dumps(item).encode() + b"\n" for item in events)


def offset_text(minutes: int) -> str:
    """An offset as options have it."""
    sign, rest = ("-", -minutes) if minutes < 0 else ("+", minutes)
    return f"{sign}{rest // 60:02d}:{rest % 60:02d}"


def clock(seconds: int = 3600) -> HourClock:
    """The clock of an offset."""
    return HourClock.parse(offset_text(seconds // 60))


def batch_rows(batch: Batch) -> list[oracle.Event]:
    """The events of a batch, in its order."""
    ids = [item.decode() for item in batch.ids.to_list()]
    kinds = [EVENT_TYPES[code] for code in batch.codes.tolist()]
    return list(zip(ids, kinds, batch.timestamps.tolist(), strict=True))


def outcome(batches: Sequence[Batch]) -> Outcome:
    """What decoding gave, in a form to compare: events sorted, places of rejects in order."""
    events = sorted(row for batch in batches for row in batch_rows(batch))
    return events, [place(reject) for batch in batches for reject in batch.rejects]


def place(reject: Reject) -> oracle.Position:
    """Where a reject is; it must have an offset."""
    assert reject.offset is not None
    return oracle.Position(reject.offset, reject.index)


def decode_block(block: Block, name: str) -> Outcome:
    """The outcome of one block with one of the decoders. Raises what decode raises beyond InputError."""
    with decoder(name):
        try:
            batch = block.decode()
        except InputError:
            return BROKEN
    assert batch.read == len(batch.codes) + len(batch.rejects)
    return outcome([batch])


def decode_source(data: bytes, name: str, block_bytes: int = 1 << 22) -> Outcome:
    """The outcome of a whole source of any shape. With small blocks little is read ahead, so that they are cut."""
    ahead = 128 if block_bytes < blocks.HEAD_BYTES else blocks.HEAD_BYTES
    with decoder(name), mock.patch.object(blocks, "HEAD_BYTES", ahead):
        try:
            return outcome([block.decode() for block in read_blocks(io.BytesIO(data), "source", block_bytes)])
        except InputError:
            return BROKEN


def expected(data: bytes) -> Outcome:
    """The oracle's outcome of a whole source."""
    try:
        document = oracle.read(data)
    except oracle.BrokenError:
        return BROKEN
    return sorted(document.events), document.rejects


def check_decoders(data: bytes) -> None:
    """Both decoders give what the oracle gives."""
    wanted = expected(data)
    for name in DECODERS:
        assert decode_source(data, name) == wanted, f"{name} decoder"


RUNNERS = ("FnApiRunner", "DirectRunner")
"""What the transforms are tested on: Beam's embedded engine by name, and the runner that most tutorials name."""

NO_DOWNLOAD = "--prism_location=/nowhere/prism"
"""DirectRunner would first download another engine (Prism); one that is not there makes it go on with its own."""


def beam_pipeline(runner: str = "FnApiRunner") -> test_pipeline.TestPipeline:
    """A pipeline for assert_that."""
    return test_pipeline.TestPipeline(runner=runner, options=PipelineOptions([NO_DOWNLOAD]))


on_both_runners = pytest.mark.parametrize("runner", RUNNERS)

MANY = [event(f"id-{k % 400}", oracle.EVENTS[k % 6], 1617393003 + k * 97) for k in range(3000)]


def batches(pipeline: beam.Pipeline, events: list[dict[str, Any]]) -> beam.PCollection[Batch]:
    """Events as a source of many small bundles gives them."""
    return pipeline | "Events" >> beam.Create(events) | BatchEvents()


def only(wanted: Any) -> Callable[[list[Any]], None]:
    """A matcher: one element, equal to this."""

    def check(found: list[Any]) -> None:
        assert found == [wanted]

    return check


@dataclasses.dataclass
class Files:
    """Inputs of three shapes with the six example events, and where outputs go."""

    folder: Path

    def job(self, **changes: Any) -> Job:
        inputs = self.folder / "in"
        inputs.mkdir()
        (inputs / "a.json").write_text(json.dumps(EXAMPLE_EVENTS[:2]))
        (inputs / "b.json").write_text(json.dumps({"mock_for_test": EXAMPLE_EVENTS[2:4]}))
        (inputs / "c.jsonl").write_bytes(json_lines(EXAMPLE_EVENTS[4:]))
        return dataclasses.replace(
            Job(tuple(find_files([str(inputs)])), self.path("report.csv")), **with_report(changes)
        )

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def outputs(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.name != "in")


class Run(NamedTuple):
    """What a command line did."""

    status: int
    out: str
    err: str


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> Run:
    """Runs the command line in this process, with logging as `python -m pipeline` sets it up."""
    capsys.readouterr()
    root = logging.getLogger()
    with mock.patch.object(root, "handlers", []), mock.patch.object(root, "level", root.level):
        logs.configure()
        status = main(list(arguments))
    out, err = capsys.readouterr()
    return Run(status, out, err)


def run(*arguments: str, stdin: bytes = b"", cwd: Path | None = None, seconds: int = 300, **environment: str) -> Run:
    """Runs the command line as a process of its own, for so many seconds at most."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        timeout=seconds,
    )
    return Run(done.returncode, done.stdout.decode(), done.stderr.decode())


class Collect:
    """Appends to a list of this process, also after it was pickled."""

    lists: list[list[Any]] = []  # noqa: RUF012

    def __init__(self, target: list[Any]) -> None:
        self.number = len(self.lists)
        self.lists.append(target)

    def __call__(self, element: Any) -> None:
        self.lists[self.number].append(element)


def hourly_reports(folder: Path) -> str:
    """The files that a stream wrote for its hours, as one report."""
    rows = sorted(path.read_text().removeprefix(HEADER) for path in folder.glob("*.csv"))
    return HEADER + "".join(rows)


EARLIER = "an earlier report\n"
GOOD = line("a", "video_25", 1)
GOOD_ROW = "1970-01-01T01:00:00+01:00,0,0,1,0,0,0,0.0\n"


def outputs() -> list[str]:
    """What is in the folder beside the inputs; hidden files too."""
    return sorted(name for name in os.listdir() if name != "in")


def succeeded(result: Run, read: int, counted: int | None = None, hours: int = 3, report: str = "report.csv") -> None:
    """Status 0 and nothing but the summary on stderr."""
    counted = read if counted is None else counted
    numbers = f"{plural(read, 'event')} read, {counted} counted, {read - counted} rejected, {plural(hours, 'hour')}"
    summary = rf"{numbers}, \d+\.\d s: report in {report}(, (ids|rejects|chart) in \S+)*\n"
    assert re.fullmatch(summary, result.err), result.err
    assert result.status == 0


def failed(result: Run, status: int, reason: str, left: tuple[str, ...] = ()) -> None:
    """The status, one clear line on stderr, no traceback, nothing on stdout, and nothing in the folder but left."""
    assert re.fullmatch(rf"error: .*{reason}.*\n", result.err), result.err
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err
    assert (result.status, result.out) == (status, "")
    assert outputs() == sorted(left)


HINT = "hint: use --rejects_output FILE to write invalid records to FILE and continue\n"


def rejected(result: Run, count: str, *lines: str, left: tuple[str, ...] = ()) -> None:
    """Status 1, a line that counts, one for each reject that is shown, and the hint; nothing left in the folder."""
    shown = "".join(f"  {line}.*\n" for line in lines)
    assert re.fullmatch(rf"error: {count} records rejected\n{shown}{HINT}", result.err), result.err
    assert (result.status, result.out) == (1, "")
    assert outputs() == sorted(left)


def fails(
    capsys: pytest.CaptureFixture[str], status: int, reason: str, *arguments: str, outs: tuple[str, ...] = ()
) -> None:
    """A run that fails leaves nothing behind, and an earlier report as it was."""
    Path("report.csv").write_text(EARLIER)
    failed(call(capsys, *arguments), status, reason, ("report.csv", *outs))
    assert Path("report.csv").read_text() == EARLIER


EVERY = ("--output", "report.csv", "--ids_output", "ids.txt", "--rejects_output", "rejects.jsonl")
