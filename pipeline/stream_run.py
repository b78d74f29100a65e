"""A run of a stream, until it is stopped."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, StandardOptions

from pipeline import counters, watching
from pipeline.files import is_local
from pipeline.report import Summary, summarize, summary_of, user_error
from pipeline.stream_job import DIRECT_RUNNERS, STREAM_RUNNER, StreamJob
from pipeline.streaming import HourlyStream, ReadStream
from pipeline.tally import check_counts
from pipeline.temporary import clean_folder
from pipeline.transforms import METRICS


def run_stream(job: StreamJob, options: PipelineOptions) -> Summary:
    """Builds and runs the graph until SIGTERM or Ctrl-C.

    The first one ends watches of files: what is there is read to its end, and all hours are written. A second one, or
    the first where a topic is read or other processes work, ends the run at once.

    Raises:
      PipelineError: as the transforms do. Others come from the runner. No temporary file is left on this machine.
    """
    _clean(job)
    watching.stopping.clear()
    counters.totals.clear()
    pipeline = build_stream(job, options)
    try:
        with _on_signals(None):  # Prism keeps ignoring what it ignored when it was started: Ctrl-C is for this process
            result = pipeline.run()
        drained = _wait(result, stoppable=bool(job.patterns) and _in_this_process(options))
        summary = summary_of(counters.totals) if _is_direct(options) else summarize(result, METRICS)
    except Exception as error:
        raise user_error(error) or error from None
    finally:
        _clean(job)
    if drained:
        check_counts(summary.read, summary.counted, summary.rejected + summary.late, summary.duplicate)
    return summary


def _in_this_process(options: PipelineOptions) -> bool:
    """Whether the workers are threads of this process, which see that watches are to end."""
    environment = options.view_as(PortableOptions).environment_type
    prism = options.view_as(StandardOptions).runner == STREAM_RUNNER
    return environment == "LOOPBACK" or (prism and not environment)


def build_stream(job: StreamJob, options: PipelineOptions) -> beam.Pipeline:
    """The graph, to be run."""
    pipeline = beam.Pipeline(options=options)
    _ = pipeline | "Source" >> ReadStream(job) | "Hourly reports" >> HourlyStream(job)
    return pipeline


def _is_direct(options: PipelineOptions) -> bool:
    return options.view_as(StandardOptions).runner in DIRECT_RUNNERS


def _clean(job: StreamJob) -> None:
    for folder in filter(is_local, job.outputs):
        clean_folder(folder)


def _wait(result: Any, stoppable: bool) -> bool:
    """Waits for the end; whether all that came was worked on."""

    def stop() -> None:
        if watching.stopping.is_set() or not stoppable:
            raise KeyboardInterrupt
        watching.stopping.set()

    try:
        with _on_signals(stop):
            result.wait_until_finish()
        return True
    except KeyboardInterrupt:
        result.cancel()
        return False


@contextlib.contextmanager
def _on_signals(action: Callable[[], None] | None) -> Iterator[None]:
    """Calls action on SIGTERM and Ctrl-C while the block runs; None: ignores them."""
    kinds = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(kind, (lambda *_: action()) if action else signal.SIG_IGN) for kind in kinds]
    try:
        yield
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
