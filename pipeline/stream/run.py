"""Runs a stream until it is stopped."""

import contextlib
import fcntl
import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, PortableOptions, StandardOptions

from pipeline.engine.metrics import METRICS, summarize, summary_of
from pipeline.engine.prism import exit_reason, has_exited, running_prism
from pipeline.engine.run_state import run_state
from pipeline.engine.runners import DIRECT_RUNNERS, STREAM_RUNNER, cancel, is_given, raise_if_still_running, user_error
from pipeline.errors import MismatchError, PipelineError, StartOverError, StoppedError, UsageError
from pipeline.model.tally import Summary, check_counts
from pipeline.storage.files import is_local, printable_path
from pipeline.storage.objects import delete_file, store_of
from pipeline.storage.temporary import run_lock
from pipeline.stream import StreamJob
from pipeline.stream.database import NAME, has_tables
from pipeline.stream.graph import HourlyStream, ReadStream, write_ledger_rejects
from pipeline.stream.ledger import Ledger, open_ledger
from pipeline.stream.totals import hour_name, write_file

_HOUR = r"\d{4}-\d\d-\d\dT\d\d[+-]\d{4}"
_REPORT = re.compile(rf"{_HOUR}\.(csv|final)")
_IDS = re.compile(rf"{_HOUR}(-\d+-of-\d+)?\.txt")
_REJECTS = re.compile(r"[0-9a-f]{32}\.jsonl")


def run_stream(job: StreamJob, options: PipelineOptions, on_start: Callable[[], None] = lambda: None) -> Summary:
    """Builds and runs the graph until SIGTERM, SIGHUP or Ctrl-C.

    The first signal drains the stream: present files are read to their end and all hours are written. A second one, or
    the first with Pub/Sub or remote workers, stops it immediately.

    Args:
      job: the stream.
      options: Beam's.
      on_start: called once the outputs are locked and the ledger is open.

    Raises:
      StoppedError: not all input was read.
      PipelineError: raised by a transform. Other errors come from the runner.
    """
    folders = [folder for folder in job.outputs if is_local(folder)]
    with _lock_folders(folders), run_lock(folders, job.token):
        prepare_outputs(job)
        with _open_ledger(job) as ledger:
            is_drained, summary = _run(job, options, on_start)
            if is_drained:
                _verify(job, options, summary, ledger)
    return summary


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
    elif not (job.keeps_state or (job.ledger and has_tables(job.output))):
        reports = _files(job.output, _REPORT)
        if reports:
            example = printable_path(os.path.basename(min(reports)))
            raise StartOverError(
                f"{printable_path(job.output)} contains reports ({example}) but no ledger or saved state; "
                "cannot resume. Use another folder"
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


@contextlib.contextmanager
def _open_ledger(job: StreamJob) -> Iterator[Ledger | None]:
    """Opens the job's ledger, if any, and writes the outputs that a killed run did not."""
    if not job.ledger:
        yield None
        return
    with open_ledger(job.output, job.settings) as ledger:
        write_final_marks(job, ledger.final)
        write_ledger_rejects(job)
        try:
            yield ledger
        finally:
            run_state.cancelled.set()  # mutes later errors of workers
            write_ledger_rejects(job)


@contextlib.contextmanager
def _lock_folders(folders: Iterable[str]) -> Iterator[None]:
    """Locks the output folders against a second stream.

    Raises:
      UsageError: another stream writes to one of them.
    """
    with contextlib.ExitStack() as stack:
        for folder in sorted(set(map(os.path.realpath, folders))):
            with contextlib.suppress(OSError):  # created later, or a file system without locks
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, descriptor)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise UsageError(f"{printable_path(folder)}: locked by another running stream") from None
        yield


def _run(job: StreamJob, options: PipelineOptions, on_start: Callable[[], None]) -> tuple[bool, Summary]:
    """Returns whether all input was processed, and the counts."""
    run_state.clear()
    try:
        with contextlib.ExitStack() as stack:
            with _on_signals(run_state.stopping.set):
                on_start()
                stack.enter_context(_explain_exit(job, stack.enter_context(running_prism(options))))
                result = build_stream(job, options).run()
            is_drained = _wait(result, bool(job.patterns) and is_drainable(job, options), _uses_job_server(options))
            if job.patterns and not is_drained:
                raise StoppedError(f"stopped before all input was read: {_next_start(job)}")
            return is_drained, summary_of(run_state.counted) if _is_direct(options) else summarize(result, METRICS)
    except Exception as error:
        raise user_error(error) or error from None


@contextlib.contextmanager
def _explain_exit(job: StreamJob, prism: Any) -> Iterator[None]:
    """Replaces errors that follow from the exit of Prism; prism: its process, or None."""
    try:
        yield
    except Exception as error:
        run_state.cancelled.set()
        if prism and has_exited(prism, error):
            raise PipelineError(f"Prism, Beam's local runner, {exit_reason(prism)}: {_next_start(job)}") from None
        raise


def _next_start(job: StreamJob) -> str:
    return "the next start resumes" if job.ledger else "start from nothing with the same files"


def _verify(job: StreamJob, options: PipelineOptions, summary: Summary, ledger: Ledger | None) -> None:
    """Verifies that counters, files and ledger of a stream agree.

    Does nothing if the counters are only a part of the stream's: remote workers lose those of failed attempts, and a
    checkpoint or savepoint holds events that are read in one run and counted in the next.
    """
    if not has_local_workers(options) or is_given(options, "checkpointing_interval", "savepoint_path"):
        return
    check_counts(summary.read, summary.counted, summary.rejected + summary.late, summary.duplicate)
    incomplete = [name for name, file in ledger.open.items() if not file.broken] if ledger else []
    if incomplete:
        raise MismatchError(f"{incomplete[0]}: blocks do not cover the file exactly once; please report this bug")
    final = ledger.earlier_tally["counted"] if ledger else 0
    for folder, suffix in ((job.output, ".csv"), (job.ids_output, ".txt")):
        events = sum(run_state.written_in(folder, suffix).values()) + final if folder else summary.counted
        if events != summary.counted:
            what = f"counted {summary.counted} events, but the files in {printable_path(folder or '')} have {events}"
            raise MismatchError(f"{what}; please report this bug, and start from nothing with the same files")


def has_local_workers(options: PipelineOptions) -> bool:
    """Whether the workers are threads of this process."""
    return _is_direct(options) or _is_in_process(options)


def is_drainable(job: StreamJob, options: PipelineOptions) -> bool:
    """Whether a signal to this process drains the stream; other runners have commands for that."""
    if job.subscription:
        return _is_direct(options)
    checkpoints = is_given(options, "checkpointing_interval")
    return _is_in_process(options) and not checkpoints  # with checkpoints Flink's sources never end


def _is_in_process(options: PipelineOptions) -> bool:
    if options.view_as(DebugOptions).lookup_experiment("use_loopback_process_worker"):
        return False
    environment = options.view_as(PortableOptions).environment_type
    is_prism = options.view_as(StandardOptions).runner == STREAM_RUNNER
    return environment == "LOOPBACK" or (is_prism and not environment)


def build_stream(job: StreamJob, options: PipelineOptions) -> beam.Pipeline:
    """Builds the graph."""
    pipeline = beam.Pipeline(options=options)
    _ = pipeline | "Source" >> ReadStream(job) | "Hourly reports" >> HourlyStream(job)
    return pipeline


def _is_direct(options: PipelineOptions) -> bool:
    return options.view_as(StandardOptions).runner in DIRECT_RUNNERS


def _uses_job_server(options: PipelineOptions) -> bool:
    portable = options.view_as(PortableOptions)
    return bool(portable.job_endpoint) and options.view_as(StandardOptions).runner != STREAM_RUNNER


def _wait(result: Any, drainable: bool, on_job_server: bool = False) -> bool:
    """Waits for the job to end; returns whether all input was processed."""

    def stop() -> None:
        if run_state.stopping.is_set() or not drainable:
            raise KeyboardInterrupt
        run_state.stopping.set()

    try:
        with _on_signals(stop):
            if run_state.stopping.is_set() and not drainable:
                raise KeyboardInterrupt
            result.wait_until_finish()
        return True
    except KeyboardInterrupt:
        run_state.cancelled.set()
        raise_if_still_running(result, "drain")
        cancel(result)
        if on_job_server:  # Flink's reports CANCELLED while the job is still running
            raise PipelineError(
                "interrupted; the job may still be running. Look for it with `flink list` and stop it with "
                "`flink cancel` (or `flink stop` for a savepoint) before another stream uses its folders"
            ) from None
        return False


@contextlib.contextmanager
def _on_signals(action: Callable[[], None]) -> Iterator[None]:
    """Calls action on SIGTERM, SIGINT, and SIGHUP unless it is ignored, as under nohup."""
    kinds = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
    kinds = [kind for kind in kinds if kind != signal.SIGHUP or signal.getsignal(kind) is not signal.SIG_IGN]
    before = {kind: signal.signal(kind, lambda *_: action()) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
