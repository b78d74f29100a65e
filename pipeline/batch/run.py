"""The report's graph, and a run of it with its checks: what the command line and the server both call.

read blocks -> decode -> +-> count by hour and event -> sum -> pivot -> scale -> write CSV
                         +-> partition ids -> group -> unique -> write ids
                         +-> rejects -> write

Behind decode duplicates are dropped, if that is asked for.
"""

import dataclasses
import logging
import re
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.environments import EmbeddedPythonEnvironment

from pipeline import errors
from pipeline.drop_duplicates import DropDuplicates
from pipeline.errors import PipelineError
from pipeline.files import InputFile, is_local
from pipeline.ids import partitions_for
from pipeline.quick import make_quick
from pipeline.sinks import WriteFile, WritePiece
from pipeline.sources import ListFiles, ReadBlocks
from pipeline.table import DEFAULT_FACTOR, DEFAULT_UTC_OFFSET
from pipeline.tally import check_counts
from pipeline.temporary import remove_leftovers
from pipeline.transforms import (
    REJECTS,
    TOTALS,
    DecodeBlocks,
    DistinctIds,
    FormatCsv,
    FormatIds,
    FormatRejects,
    HourlyTable,
    ScaleImpressions,
)
from pipeline.warm import WarmRunner


@dataclasses.dataclass(frozen=True)
class Job:
    """What to report and where to write it. Paths on any Beam file system; no ids or rejects file where None.

    deduplicate: events equal in id, event and timestamp count once. id_partitions: in which ids are shuffled, a power
    of two; None: by the input's size. token: names the run's temporary files.
    """

    files: tuple[InputFile, ...]
    output: str
    ids_output: str | None = None
    rejects_output: str | None = None
    utc_offset: str = DEFAULT_UTC_OFFSET
    impressions_factor: str = DEFAULT_FACTOR
    deduplicate: bool = False
    id_partitions: int | None = None
    token: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def outputs(self) -> list[str]:
        """The files that the job writes."""
        return [path for path in (self.output, self.ids_output, self.rejects_output) if path is not None]


@dataclasses.dataclass(frozen=True)
class Summary:
    """The counters of a finished run: records read, counted, rejected, late and dropped as duplicates; hours: rows."""

    read: int
    counted: int
    rejected: int
    hours: int
    late: int = 0
    duplicate: int = 0


@dataclasses.dataclass
class HourlyReport(beam.PTransform):  # type: ignore[misc]
    """The whole graph: Pipeline -> PCollection[str], the path of the report.

    Raises RejectsError where there are rejects and no rejects_output, InputError where a source cannot be read.
    """

    job: Job

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[str]:
        job = self.job
        blocks = pipeline | "Files" >> ListFiles(job.files) | "Read" >> ReadBlocks()
        want_ids = bool(job.ids_output) or job.deduplicate
        decoded = blocks | "Decode" >> DecodeBlocks(want_ids, bool(job.rejects_output))
        batches = decoded.batches
        if job.deduplicate:
            batches = batches | "Drop duplicates" >> DropDuplicates((job.output, job.token))
        tables = batches | "Count" >> HourlyTable(job.utc_offset, refuse_rejects=not job.rejects_output)
        if job.ids_output:
            # A bucket is read 16 MB at a time, so nothing is gained by files of many small pieces there.
            spill = (job.ids_output, job.token) if is_local(job.ids_output) else None
            partitions = job.id_partitions or partitions_for(sum(file.size for file in job.files))
            ids = batches | "Unique ids" >> DistinctIds(spill, partitions) | "Id lines" >> FormatIds()
            _ = ids | "Write ids" >> WriteFile(job.ids_output, job.token, after=tables)
        if job.rejects_output:
            rejects = decoded[REJECTS] | "Reject lines" >> FormatRejects()
            _ = rejects | "Write rejects" >> WriteFile(job.rejects_output, job.token)
        return (
            tables
            | "Scale" >> ScaleImpressions(job.impressions_factor)
            | "CSV" >> FormatCsv()
            | "Write report" >> WritePiece(job.output, job.token)
        )


def run_job(job: Job, options: PipelineOptions) -> Summary:
    """Builds and runs the graph, waits for its end, and checks that its counters account for each record.

    Raises:
      PipelineError: as the transforms do. Others come from the runner. No temporary file is left.
    """
    return _finish(job, lambda: build_job(job, options).run())


def build_job(job: Job, options: PipelineOptions) -> beam.Pipeline:
    """The graph, to be run."""
    pipeline = beam.Pipeline(options=options)
    _ = pipeline | "Hourly report" >> HourlyReport(job)
    return pipeline


class PreparedJob:
    """A job whose graph is built and set up once, to be run again and again on Beam's embedded engine.

    What a run costs apart from its data: a twentieth of `run_job`'s. The files are read anew by each run, so their
    sizes are SIZE_UNKNOWN. Not to be run by two threads at once: both would write the same output.
    """

    def __init__(self, job: Job, options: PipelineOptions) -> None:
        graph = build_job(job, options).to_runner_api(default_environment=EmbeddedPythonEnvironment.default())
        self._job, self._runner = job, WarmRunner(make_quick(graph), options)

    def run(self) -> Summary:
        """As run_job."""
        return _finish(self._job, self._runner.run)


def _finish(job: Job, start: Callable[[], Any]) -> Summary:
    result: Any = None
    try:
        result = start()
        result.wait_until_finish()
        summary = summarize(result, TOTALS)
    except KeyboardInterrupt:
        tell_if_it_goes_on(result)
        raise
    except Exception as error:
        raise user_error(error) or error from None
    finally:
        if not _goes_on(result):
            _tidy(job)
    check_counts(summary.read, summary.counted, summary.rejected, summary.duplicate)
    return summary


def tell_if_it_goes_on(result: Any) -> None:
    """PipelineError where what was interrupted was the waiting, not the job; says how to end that."""
    if _goes_on(result):
        end = f"gcloud dataflow jobs cancel {result.job_id()}"
        raise PipelineError(f"interrupted; the job goes on: `{end}` with its --project and --region ends it") from None


def _goes_on(result: Any) -> bool:
    """Whether a job runs on elsewhere (on Dataflow), with temporary files that it needs."""
    return getattr(result, "has_job", False) and not result.is_in_terminal_state()


def user_error(error: Exception) -> PipelineError | None:
    """The error of a transform as it was raised, where a runner wrapped it in its own or in a worker's traceback."""
    if isinstance(error, PipelineError):
        message = re.sub(r"\s*\[while running .*\]\s*\Z", "", str(error), flags=re.DOTALL)
        return type(error)(message, *error.args[1:])
    found = re.findall(r"^pipeline\.errors\.(\w+): (.*?)(?: \[while running .*)?$", str(error), flags=re.MULTILINE)
    return getattr(errors, found[-1][0])(found[-1][1]) if found else None


def _tidy(job: Job) -> None:
    for path in job.outputs:
        try:
            remove_leftovers(path, job.token)
        except Exception as error:  # must not hide how the run ended
            logging.getLogger(__name__).warning("temporary files beside %s were not removed: %s", path, error)


def summarize(result: Any, namespace: str) -> Summary:
    """The counters of a run, those of a namespace."""
    found = result.metrics().query(MetricsFilter().with_namespace(namespace))["counters"]
    counts: Counter[str] = Counter()
    for counter in found:  # one a step
        counts[counter.key.metric.name] += counter.result or 0
    return summary_of(counts)


def summary_of(counts: Mapping[str, int]) -> Summary:
    """Counters by their names; those that are missing are 0."""
    return Summary(*(counts.get(field.name, 0) for field in dataclasses.fields(Summary)))
