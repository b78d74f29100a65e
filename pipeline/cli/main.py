"""The command line: `python -m pipeline --input events.json`. Status 0 done, 1 the run failed, 2 wrong usage."""

import contextlib
import functools
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

from pipeline.engine import logs

logs.configure()
logging.getLogger("pipeline.native.loader").setLevel(logging.INFO)  # reports compilation, which takes seconds
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # unused; starting its threads takes 0.1 s
os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")  # isolate_network needs a single thread
gc.disable()  # imports create half a million objects and no garbage: 0.1 s

from pipeline.batch.graph import Job
from pipeline.batch.run import build_job, run_job
from pipeline.cli import stdio
from pipeline.cli.arguments import option_named
from pipeline.cli.options import (
    ReportOptions,
    check_outputs,
    is_stream,
    make_job,
    outputs_of,
    parse_options,
    short_usage,
)
from pipeline.cli.stdio import STANDARD, StagedOutputs
from pipeline.engine import dataflow
from pipeline.engine.prism import running_prism
from pipeline.engine.runners import has_servers
from pipeline.engine.threads import set_malloc_option
from pipeline.errors import (
    InputError,
    OptionError,
    PipelineError,
    RejectsError,
    StartOverError,
    StoppedError,
    UsageError,
    one_line,
)
from pipeline.formats.readers import line_numbers
from pipeline.model.events import Reject
from pipeline.model.hours import inverted_zone_warning
from pipeline.model.tally import Summary, Tally, format_reject_count
from pipeline.storage.files import InputFile, printable_path
from pipeline.storage.matching import find_files
from pipeline.storage.temporary import scratch_folder
from pipeline.transforms.opening import open_decompressed

_SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
_EXIT_SECONDS = 5
_SHOWN_REJECTS = 5
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_START_OVER = "hint: use --overwrite to start from nothing"
_HINT = "hint: use --rejects_output FILE to write invalid records to FILE and continue"

_received: list[signal.Signals] = []

gc.freeze()
gc.enable()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments:
        logs.print_line(short_usage())
        return 2
    try:
        options = parse_options(arguments)
        if warning := inverted_zone_warning(options.time_zone):
            logs.print_line(f"warning: {warning}")
        with scratch_folder(needed_at_exit=has_servers) as folder:
            (_run_stream if is_stream(options) else _run)(options, folder)
        return 0
    except UsageError as error:
        hints = [_START_OVER] if isinstance(error, StartOverError) else []
        return _fail(2, f"--{error}" if isinstance(error, OptionError) else str(error), *hints)
    except StoppedError as error:
        return _fail(130, str(error))
    except RejectsError as error:
        return _fail(1, *str(error).split("\n"), _HINT)
    except PipelineError as error:
        return _fail(1, str(error))
    except BrokenPipeError:  # `| head`
        return 0
    except KeyboardInterrupt:
        number = _received[-1] if _received else signal.SIGINT
        return _fail(128 + number, _SIGNALS[number])  # as in shells
    except Exception as error:
        logging.getLogger(__name__).debug("the run failed", exc_info=True)
        return _fail(1, one_line(error))


def _run(options: ReportOptions, folder: str) -> None:
    start = time.monotonic()
    _keep_freed_memory()
    stdio.check_standard(STANDARD in options.input, options.output == STANDARD)
    streams = [p for p in dict.fromkeys(options.input) if p == STANDARD or stdio.is_pipe(p)]
    sidecars: list[str] = []
    with option_named("input"):
        files = find_files([pattern for pattern in options.input if pattern not in streams], sidecars)
    check_outputs(options, files)
    outputs = StagedOutputs(outputs_of(options), folder)
    files += [stdio.spool(pattern, folder, number) for number, pattern in enumerate(streams)]
    job = make_job(options, files, outputs.paths)
    if dataflow.is_dataflow(options):
        dataflow.prepare(options, [*options.input, *outputs_of(options).values()], folder)
        if dataflow.is_detached(options):
            logs.print_line(dataflow.launch(build_job(job, options.for_engine()), options))
            return
    with logs.progress_bar(sum(file.size for file in job.files)):
        summary = _run_job(job, options)
    outputs.deliver()
    _print_summary(summary, options, len(sidecars), time.monotonic() - start)


def _keep_freed_memory() -> None:
    """Makes glibc reuse the memory of blocks instead of returning it to the kernel.

    Getting it back costs a page fault per 4 KiB: 0.08 of 1.1 s of CPU for 730 MB of input.
    """
    set_malloc_option(_TRIM_THRESHOLD, 512 * 1024 * 1024)
    set_malloc_option(_MMAP_THRESHOLD, 32 * 1024 * 1024)  # glibc's maximum


def _run_job(job: Job, options: ReportOptions) -> Summary:
    try:
        with running_prism(options):
            return run_job(job, options.for_engine())
    except RejectsError as error:
        if error.tally:
            raise RejectsError(_describe_rejects(error.tally, job.files)) from None
        raise
    except Exception:
        if _received:  # Beam wraps what a signal raises
            raise KeyboardInterrupt from None
        raise


def _describe_rejects(tally: Tally, files: Sequence[InputFile]) -> str:
    """Returns several lines: the count, the first rejects, and the number of omitted ones.

    A reject is `file:line: reason` in JSON Lines, `file: index N: reason` in arrays, `file: row N: reason` in Parquet.

    Args:
      tally: counts and first rejects.
      files: the inputs, which are read again up to the last shown line.
    """
    shown = tally.first[:_SHOWN_REJECTS]
    numbers = {file.name: _line_numbers(file, shown) for file in files}
    lines = [f"{_reject_place(reject, numbers)}: {reject.reason}" for reject in shown]
    if tally.rejected > len(shown):
        lines.append(f"and {tally.rejected - len(shown)} more")
    indented = ["  " + " ".join(line.split()) for line in lines]  # file names may contain line breaks
    return "\n".join([format_reject_count(tally), *indented])


def _reject_place(reject: Reject, numbers: Mapping[str, Iterator[int]]) -> str:
    if reject.index is not None:
        return f"{reject.source}: {'row' if reject.offset is None else 'index'} {reject.index}"
    line = next(numbers.get(reject.source, iter(())), None)
    return f"{reject.source}:{line}" if line else f"{reject.source}: byte {reject.offset}"


def _line_numbers(file: InputFile, rejects: Sequence[Reject]) -> Iterator[int]:
    """Yields the line numbers of a file's rejects; fewer if the file was removed or changed."""
    offsets = [reject.offset or 0 for reject in rejects if reject.source == file.name and reject.index is None]
    with contextlib.suppress(InputError), open_decompressed(file) as stream:
        yield from (line for line, _ in line_numbers(stream, offsets))


def _run_stream(options: ReportOptions, folder: str) -> None:
    from pipeline.cli.status_line import read_status, shown_status
    from pipeline.cli.stream_options import describe, find_engine, make_stream_job, protect_ports
    from pipeline.stream.run import build_stream, has_local_workers, is_drainable, run_stream

    start = time.monotonic()
    if dataflow.is_dataflow(options):
        outputs = filter(None, (options.output, options.ids_output, options.rejects_output))
        dataflow.prepare(options, [*(options.input or ()), *outputs], folder, options.output.rstrip("/"))
    find_engine(options)
    job = make_stream_job(options)
    if dataflow.is_dataflow(options) and dataflow.is_detached(options):
        logs.print_line(dataflow.launch(build_stream(job, options.for_engine()), options))
        return
    protect_ports(options, job)
    on_start = functools.partial(logs.print_line, describe(job, is_drainable(job, options)))
    with shown_status(functools.partial(read_status, job)) if has_local_workers(options) else contextlib.nullcontext():
        summary = run_stream(job, options.for_engine(), on_start)
    logs.print_line(
        f"{_counts(summary, options)}, {summary.late} late, "
        f"{time.monotonic() - start:.1f} s: reports in {printable_path(job.output)}{_others(options)}"
    )


def _print_summary(summary: Summary, options: ReportOptions, sidecars: int, seconds: float) -> None:
    report = "standard output" if options.output == STANDARD else printable_path(options.output)
    left_out = f", {logs.plural(sidecars, 'sidecar file')} skipped" if sidecars else ""
    logs.print_line(
        f"{_counts(summary, options)}, {logs.plural(summary.hours, 'hour')}{left_out}, "
        f"{seconds:.1f} s: report in {report}{_others(options)}"
    )


def _counts(summary: Summary, options: ReportOptions) -> str:
    dropped = f", {logs.plural(summary.duplicate, 'duplicate')}" if options.deduplicate else ""
    return f"{logs.plural(summary.read, 'event')} read, {summary.counted} counted, {summary.rejected} rejected{dropped}"


def _others(options: ReportOptions) -> str:
    others = (("ids", options.ids_output), ("rejects", options.rejects_output), ("chart", options.chart_output))
    return "".join(f", {kind} in {printable_path(path)}" for kind, path in others if path)


def _fail(status: int, message: str, *more: str) -> int:
    logs.print_line("\n".join([f"error: {' '.join(message.split())}", *more]))
    return status


def run_program() -> int:
    """Runs the command line as a program; returns the status. Signals stop it like Ctrl-C: it leaves no files."""
    errors = logs.Filtered(sys.stderr)
    sys.stderr = errors  # type: ignore[assignment]
    for number in _SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):  # not ignored, as under nohup
            signal.signal(number, _raise)
    try:
        status = main()
    finally:
        stdio.flush()
        errors.mute()
    if _received:  # the interpreter waits for all threads; one may deadlock on a lock held at the signal, 1 in 100 runs
        timer = threading.Timer(_EXIT_SECONDS, os._exit, (status,))
        timer.daemon = True
        timer.start()
    return status


def _raise(number: int, _: object) -> NoReturn:
    _received.append(signal.Signals(number))
    raise KeyboardInterrupt(_SIGNALS[_received[-1]])  # Beam converts errors without a message to RuntimeError
