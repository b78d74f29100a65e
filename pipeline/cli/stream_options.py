"""Checks the options of a stream, and builds its job."""

import importlib
import os
import posixpath
import re
from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import DebugOptions, GoogleCloudOptions, PortableOptions, StandardOptions

from pipeline.cli.arguments import read_report_options
from pipeline.engine import logs
from pipeline.engine.dataflow import is_dataflow
from pipeline.engine.prism import find_prism, is_prism, isolate_network
from pipeline.engine.runners import DIRECT_RUNNERS, LOCAL_RUNNERS, STREAM_RUNNER, TRY_OUT_RUNNER, is_given
from pipeline.errors import PipelineError, UsageError
from pipeline.storage.files import is_local, printable_path
from pipeline.storage.objects import check_object_path
from pipeline.storage.outputs import check_folder
from pipeline.storage.patterns import has_magic
from pipeline.stream import EARLY_FIRING_SECONDS, MAX_FUTURE_SECONDS, StreamJob

STREAM_OPTIONS = (
    "subscription",
    "timestamp_attribute",
    "id_attribute",
    "early_firing_seconds",
    "allowed_lateness_seconds",
    "max_future_seconds",
    "overwrite",
)

DEFAULT_FOLDER = "reports"

_REMOTE_SHARDS = 16

KEEP_BUNDLES_WHOLE = "prism_disable_sdf_split"
"""Prism splits bundles after 100 ms without progress, even within a key with state: the first part then overwrites the
state of keys of the second (splitBundle and PersistBundle in elementmanager.go of 2.77). Without this experiment,
19,147 of 980,000 ids were missing in a live test; with it, none in seven."""

_CHECKPOINTS, _WHOLE_BUNDLES = "--checkpointing_interval", "--finish_bundle_before_checkpointing"  # Flink's own


def with_whole_bundles(arguments: Sequence[str]) -> list[str]:
    """Adds the argument that makes Flink finish bundles before checkpoints.

    Otherwise the first bundle may finish within a checkpoint and its output stays in a buffer: at an interval of a
    second, 3 of 3 jobs stalled, with this argument none of 3.
    """
    given = {argument.partition("=")[0] for argument in arguments}
    needed = _CHECKPOINTS in given and _WHOLE_BUNDLES not in given
    return [*arguments, _WHOLE_BUNDLES] if needed else [*arguments]


def check_stream(options: Any) -> None:
    """Verifies the options of a stream.

    Raises:
      UsageError: a value is invalid, or the runner would hang or lose data.
    """
    if bool(options.input) == bool(options.subscription):
        raise UsageError("--streaming needs either --input (a folder or pattern to watch) or --subscription")
    if options.subscription:
        _check_subscription(options.subscription)
    if "-" in (*(options.input or ()), options.output, options.ids_output, options.rejects_output):
        raise UsageError("standard input and output (-) cannot be combined with --streaming")
    for name, least in (("early_firing_seconds", 1), ("allowed_lateness_seconds", 0), ("max_future_seconds", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UsageError(f"--{name} must be at least {least}")
    if options.chart_output:
        raise UsageError("--chart_output cannot be combined with --streaming")
    if options.input and (options.timestamp_attribute or options.id_attribute):
        raise UsageError("--timestamp_attribute and --id_attribute need --subscription")
    standard = options.view_as(StandardOptions)
    _check_engine(standard.runner, bool(options.subscription))
    if standard.runner in (STREAM_RUNNER, "PortableRunner"):
        options.view_as(DebugOptions).add_experiment(KEEP_BUNDLES_WHOLE)
    if "streaming_mode_at_least_once" in (options.view_as(GoogleCloudOptions).dataflow_service_options or ()):
        raise UsageError(
            "--dataflow_service_options streaming_mode_at_least_once is not supported: redelivered messages would be "
            "counted twice"
        )
    _check_workers(options)
    if options.subscription and standard.runner in DIRECT_RUNNERS:
        _check_try_out(options)
        standard.runner = TRY_OUT_RUNNER


def _check_workers(options: Any) -> None:
    """Rejects worker processes with PrismRunner, since only this process has the ledger."""
    environment = options.view_as(PortableOptions).environment_type
    if options.view_as(StandardOptions).runner == STREAM_RUNNER and environment not in (None, "LOOPBACK"):
        raise UsageError(
            f"--environment_type {environment} is not supported: with {STREAM_RUNNER} the workers run in this process, "
            "which has the ledger"
        )
    if options.overwrite and keeps_state(options):
        raise UsageError("--overwrite starts from nothing, DataflowRunner and --savepoint_path from saved state")


def keeps_state(options: Any) -> bool:
    """Whether the runner restores the state of a stream (Dataflow: --update, snapshots; Flink: --savepoint_path)."""
    return is_dataflow(options) or is_given(options, "savepoint_path")


def _check_subscription(name: str) -> None:
    if not re.fullmatch(r"projects/[a-z][-a-z0-9:.]{4,61}[a-z0-9]/subscriptions/[^/]+", name):
        raise UsageError(f"--subscription {name}: must be projects/PROJECT/subscriptions/NAME")


def _check_engine(runner: str, topic: bool) -> None:
    if runner == "FnApiRunner":
        raise UsageError(f"FnApiRunner cannot run streams: it would hang. {_advice(topic)}")
    if topic and runner == STREAM_RUNNER:
        raise UsageError(f"{STREAM_RUNNER} cannot read Pub/Sub. {_advice(topic)}")
    if not topic and runner in DIRECT_RUNNERS:
        raise UsageError(f"{runner} cannot watch files: it would hang. {_advice(topic)}")


def _check_try_out(options: Any) -> None:
    if options.id_attribute:
        raise UsageError("--id_attribute needs DataflowRunner; see also --deduplicate")
    try:
        importlib.import_module("google.cloud.pubsub")
    except ImportError:
        raise UsageError("--subscription needs `pip install 'apache-beam[gcp]'`") from None
    from pipeline.stream.topics import check_subscription

    check_subscription(options.subscription)


def _advice(topic: bool) -> str:
    if topic:
        return "Use --runner DataflowRunner (or DirectRunner for a trial; it loses messages when it stops)"
    return f"Use --runner {STREAM_RUNNER}, or omit --runner"


def find_engine(options: Any) -> None:
    """Finds Prism, if it is the runner, before any folder is created; raises UsageError if it is missing."""
    try:
        find_prism(options)
    except UsageError as error:
        raise UsageError(f"{error} (set --prism_location)") from None


def protect_ports(options: Any, job: StreamJob) -> None:
    """Moves a stream on Prism into its own network namespace; warns if that is impossible."""
    if not is_prism(options):
        return
    try:
        if not all(map(is_local, (*job.patterns, *job.outputs))):
            raise PipelineError("a bucket needs the network")
        isolate_network()
    except (PipelineError, OSError) as error:
        logs.print_line(
            f"warning: Prism listens on all addresses without authentication ({error}): close its ports by a firewall, "
            "or run the stream under `unshare --user --map-current-user --net` or systemd's PrivateNetwork=yes"
        )


def make_stream_job(options: Any) -> StreamJob:
    """Builds the job from its options, and creates local output folders.

    Raises:
      UsageError: a watched folder does not exist, or an output cannot be created.
    """
    job = StreamJob(
        options.output,
        read_report_options(options),
        patterns=tuple(options.input or ()),
        subscription=options.subscription,
        ids_output=options.ids_output,
        rejects_output=options.rejects_output,
        early_firing_seconds=options.early_firing_seconds or EARLY_FIRING_SECONDS,
        allowed_lateness_seconds=options.allowed_lateness_seconds,
        max_future_seconds=MAX_FUTURE_SECONDS if options.max_future_seconds is None else options.max_future_seconds,
        timestamp_attribute=options.timestamp_attribute,
        id_attribute=options.id_attribute,
        id_shards=options.id_partitions or _id_shards(options),
        late_at_once=options.view_as(StandardOptions).runner in DIRECT_RUNNERS,
        ledger=options.view_as(StandardOptions).runner == STREAM_RUNNER and is_local(options.output),
        keeps_state=keeps_state(options),
        overwrite=bool(options.overwrite),
    )
    watched = [_watched_folder(pattern) for pattern in job.patterns]
    for folder in job.outputs:
        if _canonical(folder) in watched:
            raise UsageError(f"{folder} is both watched and written to")
        check_folder(folder)
    return job


def _id_shards(options: Any) -> int:
    """Returns the files of ids per hour: Dataflow limits the state of a key to 80 MB, about 4 million ids."""
    return 1 if options.view_as(StandardOptions).runner in (STREAM_RUNNER, *LOCAL_RUNNERS) else _REMOTE_SHARDS


def describe(job: StreamJob, drainable: bool = True) -> str:
    """Returns the first line of a stream: its inputs, outputs, and how to stop it.

    Args:
      job: the stream.
      drainable: whether a signal to this process drains it.
    """
    outputs = {"reports": job.output, "ids": job.ids_output, "rejects": job.rejects_output}
    writes = ", ".join(f"{what} to {printable_path(folder)}" for what, folder in outputs.items() if folder)
    if job.subscription:
        return f"reading {job.subscription}; {writes}; {_stop_hint(job, drainable)}"
    patterns = ", ".join(map(printable_path, job.patterns))
    return f"watching {patterns}; {writes}; {_stop_hint(job, drainable)}"


def _stop_hint(job: StreamJob, drainable: bool) -> str:
    if not drainable:
        return "stop it with the runner's own commands"
    return "Ctrl-C stops it" if job.subscription else "Ctrl-C drains it, a second one stops it immediately"


def _watched_folder(pattern: str) -> str:
    """Returns the folder of a watched pattern; raises UsageError if it does not exist."""
    if not is_local(pattern):
        try:
            check_object_path(pattern)
        except UsageError as error:
            raise UsageError(f"--input {error}") from None
        return _canonical(posixpath.dirname(pattern) if has_magic(posixpath.basename(pattern)) else pattern)
    folder = pattern if os.path.isdir(pattern) else posixpath.dirname(pattern) or "."
    if not has_magic(folder) and not os.path.isdir(folder):
        raise UsageError(f"--input {pattern}: no such folder: {folder}")
    return _canonical(folder)


def _canonical(folder: str) -> str:
    return os.path.realpath(folder) if is_local(folder) else folder.rstrip("/")
