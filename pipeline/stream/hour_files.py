"""Output files of a stream: one per hour, replaced by each update, and a folder of rejects."""

import dataclasses
import hashlib
import logging
import os
import re
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam.transforms.trigger import AccumulationMode, AfterProcessingTime, AfterWatermark
from apache_beam.transforms.window import GlobalWindows

from pipeline.engine.prism import SinkDoFn
from pipeline.errors import StartOverError
from pipeline.model.events import Reject
from pipeline.model.tally import Tally, explain_rejects, first_rejects
from pipeline.storage.files import is_local, printable_path
from pipeline.storage.objects import delete_file, store_of
from pipeline.storage.outputs import atomic_file
from pipeline.stream.database import NAME
from pipeline.stream.job import StreamJob
from pipeline.stream.ledger import ledger_of
from pipeline.transforms.format import reject_lines

_HOUR = r"\d{4}-\d\d-\d\dT\d\d[+-]\d{4}"
_REPORT = re.compile(rf"{_HOUR}\.(csv|final)")
_IDS = re.compile(rf"{_HOUR}(-\d+-of-\d+)?\.txt")
_REJECTS = re.compile(r"[0-9a-f]{32}\.jsonl")


def hour_name(label: str) -> str:
    """Returns the file name of an hour without suffix: "2021-04-02T20:00:00+01:00" -> "2021-04-02T20+0100"."""
    date, time = label.split("T")
    return f"{date}T{time[:2]}{time[8:].replace(':', '')}"


def write_file(folder: str, name: str, token: str, data: bytes) -> str:
    """Writes a file and returns its path; creates a local folder again if it was removed meanwhile."""
    if is_local(folder):
        os.makedirs(folder, exist_ok=True)
    path = f"{folder.rstrip('/')}/{name}"
    with atomic_file(path, token) as stream:
        stream.write(data)
    return path


def prepare_outputs(job: StreamJob) -> None:
    """Removes the reports of earlier runs if the job overwrites them; otherwise checks that it can resume them.

    Raises:
      StartOverError: there are reports, but neither a ledger nor runner state for them.
    """
    ledger = os.path.join(job.output, NAME)
    if job.overwrite:
        for folder, names in ((job.output, _REPORT), (job.ids_output, _IDS), (job.rejects_output, _REJECTS)):
            for path in _files(folder, names):
                delete_file(path)
        for suffix in ("", "-wal", "-shm") if is_local(job.output) else ():
            delete_file(ledger + suffix)
    elif not (job.keeps_state or (job.ledger and os.path.exists(ledger))):
        reports = _files(job.output, _REPORT)
        if reports:
            example = printable_path(os.path.basename(min(reports)))
            raise StartOverError(
                f"{printable_path(job.output)} contains reports ({example}) but no ledger; cannot resume. "
                "Use another folder"
            )


def _files(folder: str | None, names: "re.Pattern[str]") -> list[str]:
    if folder is None:
        return []
    prefix = folder.rstrip("/") + "/"
    if is_local(folder):
        paths = [prefix + name for name in os.listdir(folder)] if os.path.isdir(folder) else []
    else:
        paths = [file.path for file in store_of(folder).list(prefix)]
    return [path for path in paths if names.fullmatch(path[len(prefix) :])]


def write_final_marks(job: StreamJob, hours: Iterable[int]) -> None:
    """Writes missing marks of final reports, as after a kill."""
    for hour in hours:
        name = f"{hour_name(job.report.clock.label(hour))}.final"
        if not os.path.exists(os.path.join(job.output, name)):
            write_file(job.output, name, job.token, b"")


@dataclasses.dataclass
class GroupIntoIntervals(beam.PTransform):  # type: ignore[misc]
    """Groups the values of an interval: PCollection[tuple[K, T]] -> PCollection[tuple[K, Iterable[T]]].

    Uses the global window, for which nothing is late. Allowed lateness extends it by a day, to the maximum timestamp,
    since Prism drops the state of a window at its end and fails if a timer fires then.
    """

    seconds: int

    def expand(self, pairs: beam.PCollection[tuple[Any, Any]]) -> beam.PCollection[tuple[Any, Iterable[Any]]]:
        interval = AfterProcessingTime(self.seconds)
        window = beam.WindowInto(
            GlobalWindows(),
            trigger=AfterWatermark(early=interval, late=interval),
            accumulation_mode=AccumulationMode.DISCARDING,
            allowed_lateness=2 * 86400,
        )
        return pairs | "Interval" >> window | "Gather" >> beam.GroupByKey()


class _WriteRejects(SinkDoFn):
    """Writes rejects. With a ledger, they come from there, and the input only triggers the writing."""

    def __init__(self, job: StreamJob) -> None:
        self._job = job

    def process(self, gathered: tuple[int, Iterable[bytes]]) -> None:
        if self._job.ledger:
            write_ledger_rejects(self._job)
        else:
            lines = b"".join(gathered[1])
            _write_rejects(self._job, hashlib.blake2b(lines, digest_size=16).hexdigest(), lines)


def write_ledger_rejects(job: StreamJob) -> None:
    """Moves the rejects in the job's ledger to files, if the job writes rejects."""
    if job.rejects_output is not None:
        ledger_of(job.output).write_rejects(lambda name, lines: _write_rejects(job, name, lines))


def _write_rejects(job: StreamJob, name: str, lines: bytes) -> None:
    write_file(job.rejects_output or "", f"{name}.jsonl", job.token, lines)


@dataclasses.dataclass
class WriteRejects(beam.PTransform):  # type: ignore[misc]
    """Writes or logs rejects: PCollection[tuple[Reject, ...]] -> PCollection[None], empty.

    They are grouped by intervals, so that there are few files. Without a ledger, a retried bundle may write its rejects
    twice.
    """

    job: StreamJob

    def expand(self, rejects: beam.PCollection[tuple[Reject, ...]]) -> beam.PCollection[None]:
        job = self.job
        if job.rejects_output is None:
            return rejects | "Log" >> beam.FlatMap(_log_rejects).with_output_types(None)
        to_lines = beam.Map(_keyed_lines, not job.ledger).with_output_types(tuple[int, bytes])
        gathered = rejects | "Lines" >> to_lines | GroupIntoIntervals(job.early_firing_seconds)
        return gathered | "Write" >> beam.ParDo(_WriteRejects(job)).with_output_types(None)


def _log_rejects(rejects: tuple[Reject, ...]) -> Iterable[None]:
    tally = Tally(len(rejects), len(rejects), first_rejects(rejects))
    logging.getLogger(__name__).warning("%s", explain_rejects(tally))
    return ()


def _keyed_lines(rejects: tuple[Reject, ...], with_lines: bool) -> tuple[int, bytes]:
    return 0, reject_lines(rejects)[1] if with_lines else b""
