"""Options of the command line, and the checks before a run."""

import argparse
import copy
import itertools
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from pipeline import __version__
from pipeline.batch.graph import Job
from pipeline.cli.arguments import SKIP_REJECTS, add_report_options, canonical, option_named, read_report_options
from pipeline.cli.stdio import STANDARD, is_stream_output, output_name
from pipeline.cli.stream_options import DEFAULT_FOLDER, STREAM_OPTIONS, check_stream, with_whole_bundles
from pipeline.engine.option_parser import OptionParser
from pipeline.engine.runners import LOCAL_RUNNERS, complete
from pipeline.errors import UsageError
from pipeline.model.ids import MAX_PARTITIONS
from pipeline.native.loader import compile_all
from pipeline.serving.page_files import report_page
from pipeline.storage.compression import Kind, check_suffix
from pipeline.storage.files import InputFile, is_local, printable_path
from pipeline.storage.outputs import is_same
from pipeline.stream import EARLY_FIRING_SECONDS, MAX_FUTURE_SECONDS

DEFAULT_OUTPUT = "report.csv"

_PROGRAM = ("log_level", "compile")  # options that are not passed to the runner
_KINDS: dict[str, Kind] = {"output": "CSV", "ids_output": "ids", "rejects_output": "JSON Lines", "chart_output": "HTML"}


class ReportOptions(PipelineOptions):  # type: ignore[misc]
    """This project's options, in addition to Beam's."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        add = _adder(parser)
        add("--input", "PATTERN", "file, glob or folder (repeatable); - is standard input", action="append")
        add("--output", "FILE", f"the report (default {DEFAULT_OUTPUT}); - is standard output", "-o")
        add("--ids_output", "FILE", "write the unique ids, one per line")
        rejects = parser.add_mutually_exclusive_group()
        rejects.add_argument("--rejects_output", metavar="FILE", help="write invalid records to FILE and continue")
        rejects.add_argument("--skip_rejects", action="store_true", help=SKIP_REJECTS)
        add("--chart_output", "FILE.html", "write the report with its chart as a page that works offline")
        add_report_options(parser.add_argument)
        partitions = (
            "partitions of the ids, a power of two (default by the input's size; each must fit in memory); "
            "for a stream: files of ids per hour"
        )
        add("--id_partitions", "N", partitions, type=_integer)
        _add_stream_options(parser)

    def for_engine(self) -> PipelineOptions:
        """Returns a copy for the runner, without names that are not UTF-8, which it cannot encode."""
        options = copy.deepcopy(self)
        parser = argparse.ArgumentParser(add_help=False)
        self._add_argparse_args(parser)
        for name, default in vars(parser.parse_args([])).items():
            if "\\udc" in ascii(getattr(options, name)):  # bytes of a name that are not UTF-8
                setattr(options, name, default)  # Dataflow cannot display None unless it is the default
        return options


def _adder(parser: Any) -> Callable[..., None]:
    """Returns a shorter add_argument of a parser or group: the name, metavar and help; then other names."""

    def add(name: str, metavar: str, text: str, *others: str, **more: Any) -> None:
        parser.add_argument(*others, name, metavar=metavar, help=text, **more)

    return add


def _add_stream_options(parser: argparse.ArgumentParser) -> None:
    stream = parser.add_argument_group("with --streaming", "outputs are then folders, with a file for each hour")
    add = _adder(stream)
    add("--subscription", "S", "projects/P/subscriptions/S of Pub/Sub, instead of --input")
    add("--timestamp_attribute", "NAME", "attribute of a message that holds its event time, for the watermark")
    add("--id_attribute", "NAME", "attribute of a message by which Dataflow drops duplicates")
    early = f"seconds between updates of a report (default {EARLY_FIRING_SECONDS})"
    add("--early_firing_seconds", "N", early, type=_integer)
    lateness = "close an hour N seconds after its end and mark its report as final (default: never)"
    add("--allowed_lateness_seconds", "N", lateness, type=_integer)
    future = f"reject events more than N seconds ahead of their file or message (default {MAX_FUTURE_SECONDS}, a day)"
    add("--max_future_seconds", "N", future, type=_integer)
    overwrite = "start from nothing: remove the ledger and the files of earlier runs from the output folders"
    stream.add_argument("--overwrite", action="store_true", default=None, help=overwrite)


def _integer(text: str) -> int:
    """Parses an integer strictly: int() also accepts spaces, a plus sign, underscores and other scripts' digits."""
    if not re.fullmatch(r"(?!-0)-?[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a whole number of up to nine digits")
    return int(text)


def parse_options(arguments: Sequence[str]) -> ReportOptions:
    """Parses a command line; prints the help and exits on --help.

    Raises:
      UsageError: an option is unknown, or its value is invalid or missing.
    """
    parser = make_parser()
    patterns: list[str] = []
    actions = parser.actions_by_name()
    known, others = parser.parse_known_args(canonical(arguments, actions, patterns))
    if known.compile:
        compile_all()
        parser.exit()
    known.input = patterns or None
    logging.getLogger().setLevel(known.log_level)
    others = with_whole_bundles(others) if known.streaming else others
    options = ReportOptions(others, **{name: value for name, value in vars(known).items() if name not in _PROGRAM})
    complete(options, others, actions)
    if options.output is None:
        options.output = DEFAULT_FOLDER if is_stream(options) else DEFAULT_OUTPUT
    options.output = output_name(options.output)
    _check_values(options)
    (check_stream if is_stream(options) else _check_batch)(options)
    return options


def make_parser() -> OptionParser:
    """Returns the parser of this program's own options."""
    parser = OptionParser(
        prog=program_name(),
        usage="%(prog)s [options] PATTERN ...",
        description="Advertising events in, an hourly report as CSV out. A PATTERN is a file, glob or folder.",
        epilog="All options of Apache Beam work too: --runner, --temp_location, --direct_num_workers ...",
        allow_abbrev=False,
    )
    ReportOptions._add_argparse_args(parser)
    add = parser.add_argument
    # Beam's own, but users look for it here.
    add("--streaming", action="store_true", help="run until stopped: watch --input, or --subscription")
    level = "log level on stderr, including Beam's (default %(default)s)"
    add("--log_level", type=str.upper, choices=("DEBUG", "INFO", "WARNING", "ERROR"), default="WARNING", help=level)
    add("--compile", action="store_true", help="compile for this machine and exit, for container images")
    add("-V", "--version", action="version", version=f"%(prog)s {__version__}", help="print the version and exit")
    return parser


def short_usage() -> str:
    """Returns the text that is printed without arguments."""
    name = program_name()
    return (
        f"usage: {name} [options] PATTERN ...\n"
        f"  {name} events.json                     the report in {DEFAULT_OUTPUT}\n"
        f"  {name} 'logs/*.jsonl.gz' --output -    the report on standard output\n"
        f"  {name} --streaming --input logs        a report for each hour in {DEFAULT_FOLDER}/, until it is stopped\n"
        f"  {name} --help                          all options"
    )


def program_name() -> str:
    """Returns the command with which this program was called."""
    name = os.path.basename(sys.argv[0])
    return name if name == "hourly-report" else "python -m pipeline"


def is_stream(options: PipelineOptions) -> bool:
    """Whether the options ask for a stream."""
    return bool(options.view_as(StandardOptions).streaming)


def _check_values(options: ReportOptions) -> None:
    read_report_options(options)
    partitions = options.id_partitions
    if partitions is not None and (not 2 <= partitions <= MAX_PARTITIONS or partitions.bit_count() > 1):
        raise UsageError(f"--id_partitions {partitions}: must be a power of two from 2 to {MAX_PARTITIONS}")
    if options.chart_output is not None:
        with option_named("chart_output"):
            check_suffix(options.chart_output, "HTML")
    for one, other in itertools.combinations(outputs_of(options).values(), 2):
        if is_same(one, other):
            raise UsageError(f"two outputs have the same name: {one}")


def outputs_of(options: ReportOptions) -> dict[str, str]:
    """Returns the output paths by option name."""
    return {name: path for name in _KINDS if (path := getattr(options, name)) is not None}


def _check_batch(options: ReportOptions) -> None:
    for name in STREAM_OPTIONS:
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} needs --streaming")
    if not options.input:
        raise UsageError("--input is missing: a file, glob or folder, or - for standard input")
    outputs = outputs_of(options)
    if STANDARD in [output_name(path) for name, path in outputs.items() if name != "output"]:
        raise UsageError("only --output can be standard output (-)")
    uses_streams = STANDARD in options.input or any(map(is_stream_output, outputs.values()))
    if uses_streams and options.view_as(StandardOptions).runner not in LOCAL_RUNNERS:
        raise UsageError("standard input and output (-) need a local runner")


def check_outputs(options: ReportOptions, files: Sequence[InputFile]) -> None:
    """Raises UsageError if an output is also an input, or has the suffix of another format."""
    outputs = outputs_of(options)
    existing = [path for path in outputs.values() if not is_local(path) or os.path.exists(path)]
    for output in existing:
        if any(is_same(output, file.path) for file in files):
            raise UsageError(f"{output} is both input and output")
    for name, path in outputs.items():
        with option_named(name):
            check_suffix(path, _KINDS[name])


def make_job(options: ReportOptions, files: Sequence[InputFile], paths: Mapping[str, str]) -> Job:
    """Builds the job from its options; paths: output paths by option name."""
    return Job(
        tuple(files),
        paths["output"],
        read_report_options(options),
        ids_output=paths.get("ids_output"),
        rejects_output=paths.get("rejects_output"),
        id_partitions=options.id_partitions,
        chart_output=paths.get("chart_output"),
        chart_page=report_page(_title(options, files)) if options.chart_output else ("", ""),
    )


def _title(options: ReportOptions, files: Sequence[InputFile]) -> str:
    """Returns the only input's name, else the report's."""
    return printable_path(os.path.basename(files[0].name if len(files) == 1 else options.output))
