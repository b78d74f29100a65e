"""The command line: `python -m pipeline --input events.json`. Status 0 done, 1 the run failed, 2 wrong usage."""

import contextlib
import gc
import logging
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Sequence

from pipeline.engine import logs

logs.configure()
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # not used, and its threads take 0.1 s to do nothing
gc.disable()  # imports make half a million objects and no garbage: 0.1 s

from pipeline.batch.job import Job
from pipeline.batch.run import build_job, run_job
from pipeline.cli.options import STANDARD, ReportOptions, is_stream, make_job, parse_options
from pipeline.engine import dataflow, progress
from pipeline.errors import PipelineError, UsageError, one_line
from pipeline.model.tally import Summary
from pipeline.storage.files import InputFile
from pipeline.stream.job import StreamJob

gc.freeze()
gc.enable()

_COPY_BYTES = 1024 * 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the status."""
    try:
        options = parse_options(sys.argv[1:] if arguments is None else arguments)
        with tempfile.TemporaryDirectory(prefix="report-") as folder:
            (_run_stream if is_stream(options) else _run)(options, folder)
        return 0
    except UsageError as error:
        return _fail(2, str(error))
    except PipelineError as error:
        return _fail(1, str(error))
    except BrokenPipeError:
        return _fail(1, "standard output was closed")
    except KeyboardInterrupt:
        return _fail(1, "interrupted")
    except Exception as error:
        logging.getLogger(__name__).debug("the run failed", exc_info=True)
        return _fail(1, one_line(error))


def _run(options: ReportOptions, folder: str) -> None:
    start = time.monotonic()
    spooled = {
        p: _spool(p, folder, k) for k, p in enumerate(dict.fromkeys(options.input)) if p == STANDARD or _is_pipe(p)
    }
    to_stdout = options.output == STANDARD
    job = make_job(options, spooled, os.path.join(folder, "report.csv") if to_stdout else options.output)
    if dataflow.is_dataflow(options):
        dataflow.prepare(options, [*options.input, *job.outputs], folder)
        if dataflow.is_detached(options):
            print(dataflow.launch(build_job(job, options), options), file=sys.stderr)
            return
    with progress.shown(sum(file.size for file in job.files)):
        summary = run_job(job, options)
    if to_stdout:
        with open(job.output, "rb") as report:
            shutil.copyfileobj(report, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    _print_summary(summary, job, "standard output" if to_stdout else job.output, time.monotonic() - start)


def _run_stream(options: ReportOptions, folder: str) -> None:
    from pipeline.cli.stream_options import make_stream_job
    from pipeline.stream.run import build_stream, run_stream

    start = time.monotonic()
    if dataflow.is_dataflow(options):
        outputs = filter(None, (options.output, options.ids_output, options.rejects_output))
        dataflow.prepare(options, [*(options.input or ()), *outputs], folder)
    job = make_stream_job(options)
    if dataflow.is_dataflow(options) and dataflow.is_detached(options):
        print(dataflow.launch(build_stream(job, options), options), file=sys.stderr)
        return
    summary = run_stream(job, options)
    print(
        f"{_counts(summary, job)}, {summary.late} late, "
        f"{time.monotonic() - start:.1f} s: reports in {job.output}{_others(job)}",
        file=sys.stderr,
    )


def _is_pipe(path: str) -> bool:
    """Whether a path is a pipe or device, which can be read only once."""
    with contextlib.suppress(OSError, ValueError):
        mode = os.stat(path).st_mode
        return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
    return False


def _spool(pattern: str, folder: str, number: int) -> InputFile:
    """Copies a stream to a file, since a source is sized, split and perhaps read again."""
    path = os.path.join(folder, f"input-{number}")
    with open(path, "wb") as target:
        if pattern == STANDARD:
            shutil.copyfileobj(sys.stdin.buffer, target, _COPY_BYTES)
        else:
            with open(pattern, "rb") as source:
                shutil.copyfileobj(source, target, _COPY_BYTES)
    return InputFile(path, os.path.getsize(path), "standard input" if pattern == STANDARD else pattern)


def _print_summary(summary: Summary, job: Job, report: str, seconds: float) -> None:
    print(
        f"{_counts(summary, job)}, {summary.hours} hours, {seconds:.1f} s: report in {report}{_others(job)}",
        file=sys.stderr,
    )


def _counts(summary: Summary, job: Job | StreamJob) -> str:
    dropped = f", {summary.duplicate} duplicates" if job.deduplicate else ""
    return f"{summary.read} events read, {summary.counted} counted, {summary.rejected} rejected{dropped}"


def _others(job: Job | StreamJob) -> str:
    others = (("ids", job.ids_output), ("rejects", job.rejects_output))
    return "".join(f", {kind} in {path}" for kind, path in others if path)


def _fail(status: int, message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return status


def run_program() -> int:
    """Runs the command line as a program of its own; the status."""
    errors = logs.Filtered(sys.stderr)
    sys.stderr = errors  # type: ignore[assignment]
    status = main()
    errors.mute()
    return status
