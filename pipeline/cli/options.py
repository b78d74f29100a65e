"""The command line's options, and the checks that come before anything runs."""

import argparse
import itertools
import os
import re
from collections.abc import Sequence
from typing import NoReturn

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, StandardOptions
from apache_beam.runners.runner import create_runner

from pipeline.batch.job import Job
from pipeline.cli.stream_options import DEFAULT_FOLDER, STREAM_OPTIONS, check_stream
from pipeline.errors import UsageError, one_line
from pipeline.model.ids import MAX_PARTITIONS
from pipeline.model.table import DEFAULT_FACTOR, DEFAULT_UTC_OFFSET, parse_factor, parse_utc_offset
from pipeline.storage.files import InputFile, NewFile, check_file_system, explain, find_files, is_io_error, is_local
from pipeline.storage.temporary import temporary_name
from pipeline.stream.job import EARLY_FIRING_SECONDS, STREAM_RUNNER

DEFAULT_OUTPUT = "report.csv"

DEFAULT_RUNNER = "FnApiRunner"
"""Beam's embedded engine. Its DirectRunner would first try to download another engine."""

LOCAL_RUNNERS = ("FnApiRunner", "DirectRunner", "BundleBasedDirectRunner")
"""Runners that see this machine's files and temporary folders."""

STANDARD = "-"
"""As an input, standard input; as the output, standard output."""


class ReportOptions(PipelineOptions):  # type: ignore[misc]
    """This project's options, beside Beam's own."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add(
            "--input", action="append", metavar="PATTERN", help="file, glob or folder (repeatable); - is standard input"
        )
        add("--output", metavar="FILE", help=f"the report (default {DEFAULT_OUTPUT}); - is standard output")
        add("--ids_output", metavar="FILE", help="write each unique id once, one a line")
        add(
            "--id_partitions",
            type=_integer,
            metavar="N",
            help="in which ids are shuffled, a power of two (default by the input's size; each must fit in memory)",
        )
        add("--rejects_output", metavar="FILE", help="write records that are no events there and go on")
        add(
            "--utc_offset",
            default=DEFAULT_UTC_OFFSET,
            metavar="+HH:MM",
            help="the report's hours (default %(default)s)",
        )
        add(
            "--impressions_factor", default=DEFAULT_FACTOR, metavar="N", help="scales impressions (default %(default)s)"
        )
        add("--deduplicate", action="store_true", help="count events equal in id, event and timestamp once")
        stream = parser.add_argument_group("with --streaming", "outputs are then folders, with a file for each hour")
        add = stream.add_argument
        add("--subscription", metavar="S", help="projects/P/subscriptions/S of Pub/Sub, instead of --input")
        add("--timestamp_attribute", metavar="NAME", help="of a message: what the watermark goes by")
        add(
            "--id_attribute", metavar="NAME", help="of a message: by which Dataflow drops what it has delivered already"
        )
        add(
            "--early_firing_seconds",
            type=_integer,
            metavar="N",
            help=f"between reports (default {EARLY_FIRING_SECONDS})",
        )
        add(
            "--allowed_lateness_seconds",
            type=_integer,
            metavar="N",
            help="closes hours so long after their end (default: never)",
        )


def _integer(text: str) -> int:
    """An integer in digits alone: int() would also take spaces, a plus sign, underscores and other scripts' digits."""
    if not re.fullmatch(r"(?!-0)-?[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no whole number of up to nine digits")
    return int(text)


class _Parser(argparse.ArgumentParser):
    """Reports a wrong option as UsageError, not by printing its whole usage."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parse_options(arguments: Sequence[str]) -> ReportOptions:
    """The options of a command line, FnApiRunner where it names no runner; prints the help and exits on --help.

    Raises:
      UsageError: an option is unknown to this project and to Beam, has a bad value, or lacks one.
    """
    parser = _Parser(
        prog="python -m pipeline",
        description="Advertising events in, an hourly report as CSV out.",
        epilog="All options of Apache Beam work too: --runner, --temp_location, --direct_num_workers ...",
        allow_abbrev=False,
    )
    ReportOptions._add_argparse_args(parser)
    known, others = parser.parse_known_args(arguments)
    options = ReportOptions(others, **vars(known))
    _complete(options, others)
    if options.output is None:
        options.output = DEFAULT_FOLDER if is_stream(options) else DEFAULT_OUTPUT
    _check_values(options)
    (check_stream if is_stream(options) else _check_batch)(options)
    return options


def is_stream(options: PipelineOptions) -> bool:
    """Whether the options ask for a stream."""
    return bool(options.view_as(StandardOptions).streaming)


def beam_options(arguments: Sequence[str]) -> PipelineOptions:
    """Beam's own options, FnApiRunner where they name no runner; UsageError for an unknown one."""
    options = PipelineOptions(list(arguments))
    _complete(options, arguments)
    return options


def _complete(options: PipelineOptions, arguments: Sequence[str]) -> None:
    FileSystems.set_options(options)  # inputs are listed before Beam does it
    if arguments:
        _check_beam_options(arguments)
    setup = options.view_as(SetupOptions)
    setup.save_main_session = bool(setup.save_main_session)  # Beam would pickle `__main__`, which no worker needs
    standard = options.view_as(StandardOptions)
    standard.runner = standard.runner or (STREAM_RUNNER if standard.streaming else DEFAULT_RUNNER)
    if standard.runner == "BundleBasedDirectRunner" and not standard.streaming:
        raise UsageError(f"{standard.runner} cannot read files in parts. Use --runner {DEFAULT_RUNNER}")
    try:
        create_runner(standard.runner)
    except (ValueError, ImportError, AttributeError) as error:
        raise UsageError(f"--runner {standard.runner}: {one_line(error)}") from None


def _check_beam_options(arguments: Sequence[str]) -> None:
    """Refuses what no option class of Beam knows; a remote runner may know options of its own."""
    parser = _Parser(allow_abbrev=False, add_help=False, conflict_handler="resolve")
    parser.add_value_provider_argument = parser.add_argument  # type: ignore[attr-defined]
    for options in PipelineOptions.__subclasses__():
        if options is not ReportOptions:
            options._add_argparse_args(parser)
    known, unknown = parser.parse_known_args(arguments)
    if unknown and (known.runner or DEFAULT_RUNNER) in LOCAL_RUNNERS:
        raise UsageError(f"unknown option or stray argument: {unknown[0]}")


def _check_values(options: ReportOptions) -> None:
    parse_utc_offset(options.utc_offset)
    parse_factor(options.impressions_factor)
    outputs = [options.output, options.ids_output, options.rejects_output]
    for one, other in itertools.combinations(filter(None, outputs), 2):
        if _is_same(one, other):
            raise UsageError(f"two outputs have the same name: {one}")


def _check_batch(options: ReportOptions) -> None:
    for name in STREAM_OPTIONS:
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} needs --streaming")
    if not options.input:
        raise UsageError("--input is missing: a file, glob or folder, or - for standard input")
    partitions = options.id_partitions
    if partitions is not None and (not 2 <= partitions <= MAX_PARTITIONS or partitions.bit_count() > 1):
        raise UsageError(f"--id_partitions {partitions}: must be a power of two from 2 to {MAX_PARTITIONS}")
    if STANDARD in (options.ids_output, options.rejects_output):
        raise UsageError("only --output can be standard output (-)")
    uses_standard = options.output == STANDARD or STANDARD in options.input
    if uses_standard and options.view_as(StandardOptions).runner not in LOCAL_RUNNERS:
        raise UsageError("standard input and output (-) need a runner on this machine")


def make_job(options: ReportOptions, spooled: dict[str, InputFile], output: str) -> Job:
    """The job that the options describe.

    spooled: inputs that were copied to files beforehand, by their pattern. output: a path. Raises:
      UsageError: an input matches nothing, or an output cannot be written.
    """
    files = find_files([pattern for pattern in options.input if pattern not in spooled])
    job = Job(
        (*files, *spooled.values()),
        output,
        options.ids_output,
        options.rejects_output,
        options.utc_offset,
        options.impressions_factor,
        options.deduplicate,
        options.id_partitions,
    )
    for path in job.outputs:
        if any(_is_same(path, file.path) for file in files):
            raise UsageError(f"{path} is an input and an output")
        check_writable(path)
    return job


def _is_same(one: str, other: str) -> bool:
    return one == other or (is_local(one) and is_local(other) and os.path.realpath(one) == os.path.realpath(other))


def check_writable(path: str) -> None:
    """UsageError where an output is a folder, pipe or device, or no file can be made beside it."""
    if os.path.isdir(path) or path.endswith("/"):
        raise UsageError(f"{path}: cannot be written: it is a folder")
    if is_local(path) and (not path or (os.path.exists(path) and not os.path.isfile(path))):
        raise UsageError(f"{path}: cannot be written: it is no file")
    check_file_system(path)
    try:
        _write_probe(temporary_name(path, "probe"))
    except Exception as error:
        if not is_io_error(error):
            raise
        raise UsageError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or explain(error)}") from None


def _write_probe(path: str) -> None:
    if is_local(path):
        with open(path, "xb"):  # Beam would make a folder that is missing
            pass
        os.remove(path)
    else:
        with NewFile(path):
            pass
        FileSystems.delete([path])
