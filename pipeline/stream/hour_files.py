"""The files of a stream: one an hour, rewritten by each newer version, and a folder of rejects."""

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.transforms.trigger import AccumulationMode, AfterProcessingTime, AfterWatermark
from apache_beam.transforms.window import GlobalWindows

from pipeline.engine.prism import SinkDoFn
from pipeline.errors import StartOverError
from pipeline.model.events import Reject
from pipeline.storage.files import is_local, printable_path
from pipeline.storage.objects import delete_file, store_of
from pipeline.storage.outputs import atomic_file
from pipeline.stream.decode import LogRejects
from pipeline.stream.job import StreamJob
from pipeline.stream.ledger import NAME, ledger_of
from pipeline.transforms.format import reject_lines

_HOUR = r"\d{4}-\d\d-\d\dT\d\d[+-]\d{4}"
_REPORT = re.compile(rf"{_HOUR}\.(csv|final)")
_IDS = re.compile(rf"{_HOUR}(-\d+-of-\d+)?\.txt")
_REJECTS = re.compile(r"[0-9a-f]{32}\.jsonl")

_KEY = 0  # the only one of rejects


def hour_name(label: str) -> str:
    """An hour as a file name without suffix: "2021-04-02T20:00:00+01:00" -> "2021-04-02T20+0100"."""
    date, time = label.split("T")
    return f"{date}T{time[:2]}{time[8:].replace(':', '')}"


def write_file(folder: str, name: str, token: str, data: bytes) -> str:
    """Writes a file of a folder, which is made again if it was removed while the stream ran; the path."""
    if is_local(folder):
        os.makedirs(folder, exist_ok=True)
    path: str = FileSystems.join(folder, name)
    with atomic_file(path, token) as stream:
        stream.write(data)
    return path


def write_lines(folder: str, token: str, lines: bytes) -> None:
    """Writes lines under a name by their bytes, so that those that come again write the same file."""
    write_file(folder, f"{hashlib.blake2b(lines, digest_size=16).hexdigest()}.jsonl", token, lines)


def prepare_outputs(job: StreamJob) -> None:
    """Makes way for a stream that begins with nothing, and protects the reports of one that cannot go on.

    Raises:
      StartOverError: there are reports, and neither a ledger nor a runner's state that belongs to them.
    """
    if job.overwrite:
        for folder, names in ((job.output, _REPORT), (job.ids_output, _IDS), (job.rejects_output, _REJECTS)):
            for path in _files(folder, names):
                delete_file(path)
        for suffix in ("", "-wal", "-shm") if is_local(job.output) else ():
            delete_file(os.path.join(job.output, NAME + suffix))
    elif not (job.keeps_state or (job.ledger and os.path.exists(os.path.join(job.output, NAME)))):
        reports = _files(job.output, _REPORT)
        if reports:
            example = printable_path(os.path.basename(min(reports)))
            raise StartOverError(
                f"{printable_path(job.output)} holds reports ({example}) without the ledger of their stream, "
                "so it cannot continue: use another folder"
            )


def _files(folder: str | None, names: "re.Pattern[str]") -> list[str]:
    if folder is None:
        return []
    if is_local(folder):
        paths = [os.path.join(folder, name) for name in os.listdir(folder)] if os.path.isdir(folder) else []
    else:
        prefix = folder.rstrip("/") + "/"
        paths = [file.path for file in store_of(folder).list(prefix)]
    return [path for path in paths if names.fullmatch(path[len(folder.rstrip("/")) + 1 :])]


def write_final_marks(job: StreamJob, hours: Iterable[int]) -> None:
    """Marks the reports of hours as final, those that are not yet."""
    for hour in hours:
        name = f"{hour_name(job.report.clock.label(hour))}.final"
        if not os.path.exists(os.path.join(job.output, name)):
            write_file(job.output, name, job.token, b"")


@dataclasses.dataclass
class GroupIntoIntervals(beam.PTransform):  # type: ignore[misc]
    """Gathers what comes within some seconds, at the end the rest: PCollection[tuple[K, T]] -> [tuple[K, Iterable[T]]].

    The window is the global one: nothing is late for it, and it ends with the stream. Its lateness lets it last a day
    longer, to the end of all time: Prism drops the state of a window at its end, and fails where a timer fires then.
    """

    seconds: int

    def expand(self, pairs: beam.PCollection[tuple[Any, Any]]) -> beam.PCollection[tuple[Any, Iterable[Any]]]:
        pace = AfterProcessingTime(self.seconds)
        window = beam.WindowInto(
            GlobalWindows(),
            trigger=AfterWatermark(early=pace, late=pace),
            accumulation_mode=AccumulationMode.DISCARDING,
            allowed_lateness=2 * 86400,
        )
        return pairs | "Interval" >> window | "Gather" >> beam.GroupByKey()


class _WriteRejects(SinkDoFn):
    """With a ledger the rejects are there, and what comes only says that there are some."""

    def __init__(self, job: StreamJob) -> None:
        self._job = job

    def process(self, gathered: tuple[int, Iterable[bytes]]) -> None:
        if self._job.ledger:
            write_kept_rejects(self._job)
        else:
            write_lines(self._job.rejects_output or "", self._job.token, b"".join(gathered[1]))


def write_kept_rejects(job: StreamJob) -> None:
    """Writes the rejects that the job's ledger holds, if it keeps any."""
    folder = job.rejects_output
    if job.ledger and folder is not None:
        ledger_of(job.output).write_rejects(lambda lines: write_lines(folder, job.token, lines))


@dataclasses.dataclass
class WriteRejects(beam.PTransform):  # type: ignore[misc]
    """Writes or logs rejects: PCollection[tuple[Reject, ...]] -> PCollection[None], empty.

    They are gathered between two reports, so that there are few files. Without a ledger a bundle that a runner repeats
    may write its rejects again.
    """

    job: StreamJob

    def expand(self, rejects: beam.PCollection[tuple[Reject, ...]]) -> beam.PCollection[None]:
        job = self.job
        if job.rejects_output is None:
            return rejects | "Log" >> beam.ParDo(LogRejects())
        lines = rejects | "Lines" >> beam.Map(_keyed, not job.ledger).with_output_types(tuple[int, bytes])
        if job.late_at_once:
            gathered = lines | "Alone" >> beam.MapTuple(_alone).with_output_types(tuple[int, list[bytes]])
        else:
            gathered = lines | GroupIntoIntervals(job.early_firing_seconds)
        return gathered | "Write" >> beam.ParDo(_WriteRejects(job)).with_output_types(None)


def _keyed(rejects: tuple[Reject, ...], with_lines: bool) -> tuple[int, bytes]:
    return _KEY, reject_lines(rejects)[1] if with_lines else b""


def _alone(key: int, lines: bytes) -> tuple[int, list[bytes]]:
    return key, [lines]
