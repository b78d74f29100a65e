"""A run of a stream, until it is stopped."""

import contextlib
import fcntl
import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, PortableOptions, StandardOptions

from pipeline.engine.local_run import local_run
from pipeline.engine.metrics import METRICS, summarize, summary_of
from pipeline.engine.prism import end_prism, is_prism
from pipeline.engine.results import cancel, tell_if_it_goes_on, user_error
from pipeline.engine.runners import DIRECT_RUNNERS, STREAM_RUNNER
from pipeline.errors import MismatchError, StoppedError, UsageError
from pipeline.model.tally import Summary, check_balance, check_counts
from pipeline.storage import locks
from pipeline.storage.files import is_local, shown
from pipeline.stream.graph import HourlyStream, ReadStream
from pipeline.stream.job import StreamJob
from pipeline.stream.ledger import kept
from pipeline.stream.resume import rejects_written


def run_stream(job: StreamJob, options: PipelineOptions) -> Summary:
    """Builds and runs the graph until SIGTERM or Ctrl-C.

    The first one ends watches of files: what is there is read to its end, and all hours are written. A second one, or
    the first where a topic is read or other processes work, ends the run at once.

    Raises:
      StoppedError: files were not read to their end.
      PipelineError: as the transforms do. Others come from the runner. No temporary file is left on this machine.
    """
    with (
        _alone(filter(is_local, job.outputs)),
        locks.held(filter(is_local, job.outputs), job.token),
        kept(job.output, job.settings, job.resume) if is_local(job.output) else contextlib.nullcontext(),
        rejects_written(job),
    ):
        drained, summary = _run(job, options)
    if drained:
        check_counts(summary.read, summary.counted, summary.rejected + summary.late, summary.duplicate)
        if works_here(options):
            _check_here(job, summary)
    return summary


@contextlib.contextmanager
def _alone(folders: Iterable[str]) -> Iterator[None]:
    """Holds folders of this machine, so that two streams never write the same reports; UsageError where another does.

    The kernel gives them back when this process dies, however it dies.
    """
    with contextlib.ExitStack() as stack:
        for folder in sorted({os.path.realpath(folder) for folder in folders}):
            with contextlib.suppress(OSError):  # it is made when something is written; or cannot be locked
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, descriptor)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise UsageError(f"{shown(folder)}: another stream that is running writes there") from None
        yield


def _run(job: StreamJob, options: PipelineOptions) -> tuple[bool, Summary]:
    """Whether all input was processed, and what was counted."""
    local_run.clear()
    pipeline = build_stream(job, options)
    try:
        # Prism goes on ignoring the Ctrl-C that is ignored when it is started: it is for this process alone.
        with _on_signals(local_run.stopping.set, on_interrupt=signal.SIG_IGN):
            result = pipeline.run()
        drained = _wait(result, stoppable=bool(job.patterns) and _in_this_process(options))
        if job.patterns and not drained:
            raise StoppedError("stopped before all was read: a new run over the same files reports them whole")
        return drained, summary_of(local_run.counted) if _is_direct(options) else summarize(result, METRICS)
    except Exception as error:
        raise user_error(error) or error from None
    finally:
        if is_prism(options):
            end_prism()
        for folder in filter(is_local, job.outputs):
            locks.remove_of(folder, job.token)


def _check_here(job: StreamJob, summary: Summary) -> None:
    """MismatchError where what this process has found and written does not agree with the counters."""
    if not summary.broken:
        check_balance(summary.balance, local_run.found)
    _check_files(job, summary.counted)


def _check_files(job: StreamJob, counted: int) -> None:
    """MismatchError where the files of a drained run lack events: an engine's state is not taken on trust.

    Files of an earlier run that hold more than this one has read stayed as they were; says so.
    """
    stay = local_run.held_back
    for folder, suffix in ((job.output, ".csv"), (job.ids_output, ".txt")):
        if folder:
            held = sum(local_run.written_in(folder, suffix).values())
            if held != counted:
                what = f"counted {counted} events but the files in {shown(folder)} are of {held}"
                raise MismatchError(f"{what}: start again over the same files, and please report this")
    if stay:
        names = ", ".join(map(shown, sorted(stay)[:3])) + (" ..." if len(stay) > 3 else "")
        logging.getLogger(__name__).warning(
            "%d files of an earlier run hold more than this one has read, and stay as they were: %s", len(stay), names
        )


def works_here(options: PipelineOptions) -> bool:
    """Whether the workers are threads of this process, so that what it has counted and written is all of it."""
    return _is_direct(options) or _in_this_process(options)


def _in_this_process(options: PipelineOptions) -> bool:
    """Whether the workers are threads of this process, which see that watches are to end."""
    if options.view_as(DebugOptions).lookup_experiment("use_loopback_process_worker"):
        return False
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


def _wait(result: Any, stoppable: bool) -> bool:
    """Waits for the end; whether all input was processed."""

    def stop() -> None:
        if local_run.stopping.is_set() or not stoppable:
            raise KeyboardInterrupt
        local_run.stopping.set()

    try:
        with _on_signals(stop):
            if local_run.stopping.is_set() and not stoppable:
                raise KeyboardInterrupt
            result.wait_until_finish()
        return True
    except KeyboardInterrupt:
        local_run.cancelled.set()
        tell_if_it_goes_on(result, "drain")
        cancel(result)
        return False


@contextlib.contextmanager
def _on_signals(action: Callable[[], None], on_interrupt: Any = None) -> Iterator[None]:
    """Calls action on SIGTERM and on Ctrl-C, but for another handler of Ctrl-C, while the block runs."""
    handlers = {signal.SIGTERM: lambda *_: action(), signal.SIGINT: on_interrupt or (lambda *_: action())}
    before = {kind: signal.signal(kind, handler) for kind, handler in handlers.items()}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
