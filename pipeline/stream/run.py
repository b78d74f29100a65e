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

from pipeline.engine.metrics import METRICS, summarize, summary_of
from pipeline.engine.prism import died, running_prism
from pipeline.engine.results import cancel, raise_if_still_running, user_error
from pipeline.engine.run_state import run_state
from pipeline.engine.runners import DIRECT_RUNNERS, STREAM_RUNNER
from pipeline.errors import MismatchError, PipelineError, StoppedError, UsageError
from pipeline.model.tally import Summary, check_counts
from pipeline.storage import locks
from pipeline.storage.files import is_local, printable_path
from pipeline.stream.graph import HourlyStream, ReadStream
from pipeline.stream.hour_files import prepare_outputs, write_final_marks, write_kept_rejects
from pipeline.stream.job import StreamJob
from pipeline.stream.ledger import Ledger, kept


def run_stream(job: StreamJob, options: PipelineOptions) -> Summary:
    """Builds and runs the graph until SIGTERM or Ctrl-C.

    The first one ends watches of files: what is there is read to its end, and all hours are written. A second one, or
    the first where a topic is read or other processes work, ends the run at once.

    Raises:
      StoppedError: files were not read to their end.
      PipelineError: as the transforms do. Others come from the runner. No temporary file is left on this machine.
    """
    with _alone(filter(is_local, job.outputs)), locks.held(filter(is_local, job.outputs), job.token):
        prepare_outputs(job)
        with _kept(job) as ledger:
            drained, summary = _run(job, options)
            if drained and works_here(options):
                _check_here(job, summary, ledger)
    if drained and not works_here(options):
        _compare_counters(summary)
    return summary


@contextlib.contextmanager
def _kept(job: StreamJob) -> Iterator[Ledger | None]:
    """Keeps the job's ledger, if it has one; writes what earlier runs could not."""
    if not job.ledger:
        yield None
        return
    with kept(job.output, job.settings) as ledger:
        write_final_marks(job, ledger.final)
        write_kept_rejects(job)
        try:
            yield ledger
        finally:
            run_state.cancelled.set()  # what workers of a lost engine meet from here on is not news
            write_kept_rejects(job)


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
                    raise UsageError(f"{printable_path(folder)}: another stream that is running writes there") from None
        yield


def _run(job: StreamJob, options: PipelineOptions) -> tuple[bool, Summary]:
    """Whether all input was processed, and what was counted."""
    run_state.clear()
    try:
        with contextlib.ExitStack() as stack:
            with _on_signals(run_state.stopping.set):
                stack.enter_context(_ended(job, stack.enter_context(running_prism(options))))
                result = build_stream(job, options).run()
            drained = _wait(result, bool(job.patterns) and ends_here(job, options), _is_elsewhere(options))
            if job.patterns and not drained:
                raise StoppedError(f"stopped before all was read: {_next_start(job)}")
            return drained, summary_of(run_state.counted) if _is_direct(options) else summarize(result, METRICS)
    except Exception as error:
        raise user_error(error) or error from None
    finally:
        for folder in filter(is_local, job.outputs):
            locks.remove_of(folder, job.token)


@contextlib.contextmanager
def _ended(job: StreamJob, prism: Any) -> Iterator[None]:
    """Says it if an error in the block comes from the end of Prism, a process or None."""
    try:
        yield
    except Exception:
        run_state.cancelled.set()
        if prism and prism.poll() is not None:
            raise PipelineError(f"Prism, Beam's local runner, {died(prism)}: {_next_start(job)}") from None
        raise


def _next_start(job: StreamJob) -> str:
    return "the next start continues" if job.ledger else "a start from nothing reads the same files again"


def _check_here(job: StreamJob, summary: Summary, ledger: Ledger | None) -> None:
    """MismatchError where what this process has found and written does not agree with the counters."""
    check_counts(summary.read, summary.counted, summary.rejected + summary.late, summary.duplicate)
    final = 0
    if ledger:
        ledger.check_done()
        final = ledger.earlier_tally["counted"]
    for folder, suffix in ((job.output, ".csv"), (job.ids_output, ".txt")):
        if folder:
            held = sum(run_state.written_in(folder, suffix).values()) + final
            if held != summary.counted:
                what = f"counted {summary.counted} events but the files in {printable_path(folder)} are of {held}"
                raise MismatchError(f"{what}: please report this, and start from nothing with the same files")


def _compare_counters(summary: Summary) -> None:
    """Warns where the counters of other processes do not add up: their attempts that failed take counters with them."""
    try:
        check_counts(summary.read, summary.counted, summary.rejected + summary.late, summary.duplicate)
    except MismatchError:
        logging.getLogger(__name__).warning(
            "the runner's counters do not add up, as after a failed worker: reports are made of its state, not of these"
        )


def works_here(options: PipelineOptions) -> bool:
    """Whether the workers are threads of this process, so that what it has counted and written is all of it."""
    return _is_direct(options) or _in_this_process(options)


def ends_here(job: StreamJob, options: PipelineOptions) -> bool:
    """Whether a signal to this process ends the stream as it should; elsewhere its runner has commands for it."""
    if job.subscription:
        return _is_direct(options)
    checkpoints = "checkpointing_interval" in options.get_all_options(drop_default=True, retain_unknown_options=True)
    return _in_this_process(options) and not checkpoints  # with checkpoints Flink's sources never end


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


def _is_elsewhere(options: PipelineOptions) -> bool:
    """Whether a job server runs the job that this process did not start."""
    portable = options.view_as(PortableOptions)
    return bool(portable.job_endpoint) and options.view_as(StandardOptions).runner != STREAM_RUNNER


def _wait(result: Any, stoppable: bool, elsewhere: bool = False) -> bool:
    """Waits for the end; whether all input was processed."""

    def stop() -> None:
        if run_state.stopping.is_set() or not stoppable:
            raise KeyboardInterrupt
        run_state.stopping.set()

    try:
        with _on_signals(stop):
            if run_state.stopping.is_set() and not stoppable:
                raise KeyboardInterrupt
            result.wait_until_finish()
        return True
    except KeyboardInterrupt:
        run_state.cancelled.set()
        raise_if_still_running(result, "drain")
        cancel(result)
        if elsewhere:  # Flink's job server says CANCELLED at once, while the job goes on
            raise PipelineError(
                "interrupted: the job server was told to cancel the job, which may still be running: look for it "
                "(`flink list`), end it there (`flink cancel`, or `flink stop` for a savepoint), and start no other "
                "stream on its folders before"
            ) from None
        return False


@contextlib.contextmanager
def _on_signals(action: Callable[[], None], on_interrupt: Any = None) -> Iterator[None]:
    """Calls action on SIGTERM, SIGHUP (unless ignored, as under nohup) and Ctrl-C while the block runs.

    on_interrupt: another handler of Ctrl-C.
    """
    handlers = {signal.SIGTERM: lambda *_: action(), signal.SIGINT: on_interrupt or (lambda *_: action())}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        handlers[signal.SIGHUP] = handlers[signal.SIGTERM]
    before = {kind: signal.signal(kind, handler) for kind, handler in handlers.items()}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
