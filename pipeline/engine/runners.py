"""Runners: defaults and checks of Beam's own options, errors of runs, and jobs that are still running remotely."""

import difflib
import functools
import re
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from typing import Any

import grpc
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    DirectOptions,
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
    TypeOptions,
)
from apache_beam.runners.runner import PipelineState, create_runner

from pipeline import errors
from pipeline.engine.option_parser import OptionParser
from pipeline.engine.prism import bind_loopback
from pipeline.errors import OptionError, PipelineError, UsageError, one_line

DIRECT_RUNNERS = ("DirectRunner", "BundleBasedDirectRunner")

STREAM_RUNNER = "PrismRunner"
"""Beam's local runner for streams, a program that Beam downloads, or at --prism_location."""

TRY_OUT_RUNNER = "BundleBasedDirectRunner"
"""Beam's local runner for Pub/Sub, to which DirectRunner falls back. Acknowledges messages before processing them."""

DEFAULT_RUNNER = "FnApiRunner"
"""Beam's embedded runner. DirectRunner would first try to download Prism."""

LOCAL_RUNNERS = ("FnApiRunner", "DirectRunner", "BundleBasedDirectRunner")
"""Runners whose workers see this machine's files and temporary folders."""

_KEEP_COUNTERS = ("DataflowRunner", "FlinkRunner", "SparkRunner")  # not PortableRunner, which may be Prism

_FOREVER = 10 * 365 * 86400  # seconds
_TIMEOUT = "job_server_timeout"
_ENDPOINT_SECONDS = 60  # a job server may be starting
_CANCEL_SECONDS, _POLL_SECONDS = 10, 0.1
_ENDED = (PipelineState.DONE, PipelineState.FAILED, PipelineState.CANCELLED, PipelineState.UPDATED)


def beam_options(arguments: Sequence[str]) -> PipelineOptions:
    """Returns Beam's options with defaults, checked by complete()."""
    options = PipelineOptions(list(arguments))
    complete(options, arguments)
    return options


def complete(options: PipelineOptions, arguments: Sequence[str], others: Collection[str] = ()) -> None:
    """Sets the defaults of Beam's options, and checks them.

    Args:
      options: Beam's.
      arguments: Beam's, from the command line.
      others: names of this program's options, suggested for a mistyped one.

    Raises:
      UsageError: an unknown option, a bad value, an unknown runner, or an unreachable job server.
    """
    bind_loopback()
    FileSystems.set_options(options)  # Beam does it after the inputs are listed
    if arguments:
        check_names(arguments, others)
    setup = options.view_as(SetupOptions)
    setup.save_main_session = bool(setup.save_main_session)  # None would pickle `__main__`, which no worker needs
    standard = options.view_as(StandardOptions)
    standard.runner = standard.runner or (STREAM_RUNNER if standard.streaming else DEFAULT_RUNNER)
    if standard.runner == DEFAULT_RUNNER:
        options.view_as(TypeOptions).pipeline_type_check = False  # 45 ms; the tests check the graphs
    if standard.runner == "BundleBasedDirectRunner" and not standard.streaming:
        raise OptionError(f"runner {standard.runner} cannot read files in parts: use {DEFAULT_RUNNER}")
    workers = options.view_as(DirectOptions).direct_num_workers
    if workers < 0:
        raise OptionError(f"direct_num_workers {workers}: must be 0 (one per CPU) or more")
    try:
        create_runner(standard.runner)
    except (ValueError, ImportError, AttributeError) as error:
        raise OptionError(f"runner {standard.runner}: {one_line(error)}") from None
    _disable_job_timeout(options.view_as(PortableOptions), arguments)


def _disable_job_timeout(portable: PortableOptions, arguments: Sequence[str]) -> None:
    """Disables the job server timeout, with which Beam ends jobs (issue 35867), unless it was set.

    Since requests to a wrong endpoint would then hang, the endpoint is checked here.
    """
    if portable.job_endpoint and portable.job_endpoint != "embed":
        _check_endpoint(portable.job_endpoint)
    if not any(argument.lstrip("-").replace("-", "_").startswith(_TIMEOUT) for argument in arguments):
        portable.job_server_timeout = _FOREVER


@functools.cache
def _check_endpoint(endpoint: str) -> None:
    """Raises UsageError if no job server is reachable. Successful checks are cached."""
    with grpc.insecure_channel(endpoint) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_ENDPOINT_SECONDS)
        except grpc.FutureTimeoutError:
            raise UsageError(f"no job server reachable at {endpoint}") from None


def is_embedded(options: PipelineOptions) -> bool:
    """Returns whether a single worker in this process runs the job: Beam's embedded runner in its default mode."""
    direct = options.view_as(DirectOptions)
    is_default = direct.direct_num_workers == 1 and direct.direct_running_mode == "in_memory"
    return bool(is_default and options.view_as(StandardOptions).runner == DEFAULT_RUNNER)


def keeps_counters(options: PipelineOptions) -> bool:
    """Returns whether the runner is known to keep the counters of all bundles."""
    return str(options.view_as(StandardOptions).runner).rpartition(".")[2] in _KEEP_COUNTERS


def spill_folder(options: PipelineOptions) -> str | None:
    """Returns the folder for values spilled for outputs in buckets, which may forbid deletions; None: beside them."""
    standard, portable = options.view_as(StandardOptions), options.view_as(PortableOptions)
    if standard.runner in LOCAL_RUNNERS or portable.environment_type == "LOOPBACK":
        return tempfile.gettempdir()
    location: str | None = options.view_as(GoogleCloudOptions).temp_location
    return location and location.rstrip("/")


def is_given(options: PipelineOptions, *names: str) -> bool:
    """Returns whether any of these options, which may be unknown to Beam's Python SDK, is given."""
    return not options.get_all_options(drop_default=True, retain_unknown_options=True).keys().isdisjoint(names)


def works_in_containers(options: PipelineOptions) -> bool:
    """Returns whether workers run in containers, Beam's default on clusters, without access to this machine's disk."""
    environment = options.view_as(PortableOptions).environment_type
    if environment:
        return str(environment) == "DOCKER"
    runner = str(options.view_as(StandardOptions).runner).rpartition(".")[2]
    on_cluster = not options.view_as(FlinkRunnerOptions).flink_master.startswith("[")
    return runner in ("PortableRunner", "SparkRunner") or (runner == "FlinkRunner" and on_cluster)


def has_servers() -> bool:
    """Returns whether Beam may have started job servers (Flink, Spark), which it stops at exit.

    It cannot stop them if their temporary folders were removed before.
    """
    return "apache_beam.runners.portability.job_server" in sys.modules


def check_names(arguments: Sequence[str], others: Collection[str]) -> None:
    """Raises UsageError for an option unknown to Beam; remote runners may have their own options."""
    parser = beam_parser()
    known, unknown = parser.parse_known_args(arguments)
    if unknown and (known.runner or DEFAULT_RUNNER) in LOCAL_RUNNERS:
        name = unknown[0].partition("=")[0]
        nearest = nearest_option(name, others, parser.actions_by_name())
        hint = f": did you mean {nearest}?" if nearest else ""
        raise UsageError(f"unknown option or stray argument: {name}{hint}")


def nearest_option(name: str, own: Collection[str], beams: Collection[str]) -> str | None:
    """Returns the most similar option: one of this program, or one of Beam's within two edits."""
    text = _letters(name)
    close = difflib.get_close_matches(text, map(_letters, own), 1)
    parts = [option for option in own if (text in _letters(option) and len(text) > 2) or [_letters(option)] == close]
    if parts:
        return min(parts, key=lambda option: (not _letters(option).startswith(text), [_letters(option)] != close))
    near = {option: _edits(text, _letters(option)) for option in beams}
    best = min(near, key=lambda option: near[option])
    return best if near[best] <= min(2, len(text) // 3) else None


def _letters(option: str) -> str:
    return option.lstrip("-").replace("-", "_").lower()


def _edits(one: str, other: str) -> int:
    """Returns the number of letters to insert, delete or replace."""
    changes = difflib.SequenceMatcher(None, one, other).get_opcodes()
    return sum(max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in changes if tag != "equal")


def beam_parser() -> OptionParser:
    """Returns a parser of all of Beam's options."""
    parser = OptionParser(allow_abbrev=False, add_help=False, conflict_handler="resolve")
    parser.add_value_provider_argument = parser.add_argument  # type: ignore[attr-defined]
    for options in PipelineOptions.__subclasses__():
        if not options.__module__.startswith("pipeline."):
            options._add_argparse_args(parser)
    return parser


def user_error(error: Exception) -> PipelineError | None:
    """Returns the PipelineError that a runner wrapped in its own error or traceback, or None."""
    if isinstance(error, PipelineError):
        message = re.sub(r"\s*\[while running .*\]\s*\Z", "", str(error), flags=re.DOTALL)
        return type(error)(message, *error.args[1:])
    found = re.findall(r"^pipeline\.errors\.(\w+): (.*?)(?: \[while running .*)?$", str(error), flags=re.MULTILINE)
    return getattr(errors, found[-1][0])(found[-1][1]) if found else None


def raise_if_still_running(result: Any, verb: str = "cancel") -> None:
    """Raises PipelineError if a job is still running after an interrupt.

    Args:
      result: Beam's result of the job.
      verb: gcloud's subcommand: "drain" writes the open hours of a stream, "cancel" drops them.
    """
    if is_running_remotely(result):
        command = f"gcloud dataflow jobs {verb} {result.job_id()} (with its project and region)"
        raise PipelineError(f"interrupted; the job is still running. To stop it: {command}") from None


def cancel(result: Any) -> None:
    """Cancels a job; raises PipelineError if it does not end, as with Flink's job server."""
    job = getattr(result, "_job_id", None)
    result.cancel()
    if job is None:
        return
    deadline = time.monotonic() + _CANCEL_SECONDS
    while (state := _state(result)) not in _ENDED:
        if time.monotonic() > deadline:
            raise PipelineError(f"job {job} is still {state} after cancellation; stop it in the runner")
        time.sleep(_POLL_SECONDS)


def _state(result: Any) -> str:
    """Returns the state of a job, CANCELLED if its runner is unreachable."""
    try:
        return str(result.state)
    except grpc.RpcError:
        return str(PipelineState.CANCELLED)


def is_running_remotely(result: Any) -> bool:
    """Returns whether a job is still running on Dataflow and needs its temporary files."""
    return getattr(result, "has_job", False) and not result.is_in_terminal_state()
