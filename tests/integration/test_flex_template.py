"""The Flex Template: its parameters are options, and its regular expressions agree with the command line's checks."""

import argparse
import itertools
import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from apache_beam.options.pipeline_options import WorkerOptions
from google.cloud.dataflow import TemplateMetadata
from google.protobuf import json_format

from pipeline.cli import main as program
from pipeline.cli.options import ReportOptions, parse_options
from pipeline.errors import UsageError
from pipeline.model.hours import HourClock, parse_utc_offset, zone_names
from pipeline.model.table import parse_factor
from tests.support import ROOT

FOLDER = ROOT / "flex_template"
METADATA = json.loads((FOLDER / "metadata.json").read_text())
PARAMETERS = {parameter["name"]: parameter for parameter in METADATA["parameters"]}
BATCH = ["--runner=DataflowRunner", "--input=gs://b/a", "--output=gs://b/r"]
STREAM = [
    "--runner=DataflowRunner", "--streaming", "--subscription=projects/project/subscriptions/s", "--output=gs://b/r",
]  # fmt: skip
SUBSCRIPTIONS = (
    *("projects/project/subscriptions/s", "projects/project/topics/s", "projects//subscriptions/s", "s", ""),
    *("projects/short/subscriptions/s", "projects/project/subscriptions/s/t"),
)
ODD = (
    *("+5", "+2", "1_0", "1_6", " 5", " 2", "5 ", "2 ", "\t2", "٤", "²", "", "-0", "0x2"),
    *("9" * 9, "9" * 10, "9" * 5000),
)
"""What Python's int() may take for a number, or not."""


def matches(name: str, value: str) -> bool:
    """Whether a parameter's regular expressions allow a value."""
    return all(re.search(pattern, value) for pattern in PARAMETERS[name].get("regexes", []))


def accepts(check: Any, *arguments: Any) -> bool:
    """Whether a check lets a value pass."""
    try:
        check(*arguments)
    except UsageError:
        return False
    return True


def test_it_is_googles_metadata() -> None:
    message = TemplateMetadata.pb()()
    json_format.ParseDict(METADATA, message)
    assert [parameter.name for parameter in message.parameters] == list(PARAMETERS)


def test_the_parameters_are_all_of_this_projects_options_and_one_of_beams() -> None:
    parser = argparse.ArgumentParser()
    ReportOptions._add_argparse_args(parser)
    own = {action.dest for action in parser._actions} - {"help", "overwrite"}  # the latter: not on Dataflow
    assert set(PARAMETERS) - {"sdk_container_image"} == own
    assert hasattr(ReportOptions([]).view_as(WorkerOptions), "sdk_container_image")


def test_defaults_are_the_command_lines() -> None:
    options = parse_options(BATCH)
    for name, parameter in PARAMETERS.items():
        if "defaultValue" in parameter:
            assert getattr(options, name) == parameter["defaultValue"], name


def test_every_utc_offset() -> None:
    digits = "0123456789"
    for sign, *rest in itertools.product("+-", digits[:3], digits, digits[:8], digits):
        value = f"{sign}{rest[0]}{rest[1]}:{rest[2]}{rest[3]}"
        assert matches("utc_offset", value) == accepts(parse_utc_offset, value), value
    for value in ("", "01:00", "+1:00", "+01:00 ", " +01:00", "+0100", "Z", "+01:00:00"):
        assert not matches("utc_offset", value)
        assert not accepts(parse_utc_offset, value)


def test_every_time_zone() -> None:
    for name in sorted(zone_names()):
        assert matches("time_zone", name), name
    for value in ("", "Europe/", "/Paris", "../x", "+01:00"):
        assert not matches("time_zone", value)
        assert not accepts(HourClock.parse, None, value)


@pytest.mark.parametrize(
    "value", ["0", "0.1", "1", "000", "2.50", "123456789012345.123456789012345", "", ".1", "1.", "-1", "1e3", "1,5",
              "1234567890123456", "0.1234567890123456", " 1", "NaN"],
)  # fmt: skip
def test_factors(value: str) -> None:
    assert matches("impressions_factor", value) == accepts(parse_factor, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("subscription", v) for v in SUBSCRIPTIONS),
        *(("early_firing_seconds", v) for v in ("1", "60", "007", "0", "00", "-1", "1.5", "x", *ODD)),
        *(("allowed_lateness_seconds", v) for v in ("0", "3600", "-1", "1.5", "x", *ODD)),
        *(("max_future_seconds", v) for v in ("0", "86400", "-1", "1.5", "x", *ODD)),
    ],
)  # fmt: skip
def test_options_of_streams(name: str, value: str) -> None:
    arguments = [argument for argument in STREAM if not argument.startswith(f"--{name}=")]
    assert matches(name, value) == accepts(parse_options, [*arguments, f"--{name}={value}"])


@pytest.mark.parametrize(
    "value", ["1", "2", "3", "64", "65536", "131072", "0", "-2", "x", "2.0", "02", "0" * 9 + "2", *ODD]
)
def test_partitions_of_ids(value: str) -> None:
    assert matches("id_partitions", value) == accepts(parse_options, [*BATCH, f"--id_partitions={value}"])


@pytest.mark.parametrize("name", ["input", "output", "ids_output", "rejects_output"])
def test_paths_are_in_buckets(name: str) -> None:
    for value in ("gs://bucket/folder/name", "s3://bucket/name", "gs://bucket/a b.csv"):
        assert matches(name, value)
    for value in ("name", "/tmp/name", "-", "gs://", "gs://bucket", "http://bucket/name", ""):
        assert not matches(name, value)
    assert matches(name, "gs://bucket/folder/") is (name == "input")


def launch() -> Any:
    """Runs the launcher's program, without the command line that it calls; the status."""
    with (
        mock.patch.object(program, "main", return_value=0),
        mock.patch.object(sys, "stderr"),
        mock.patch("logging.disable"),
        pytest.raises(SystemExit) as ended,
    ):
        runpy.run_path(str(FOLDER / "main.py"), run_name="__main__")
    return ended.value.code


def test_flags_have_values(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, passed in (("true", ["--deduplicate"]), ("false", [])):
        assert matches("deduplicate", value)
        monkeypatch.setattr(sys, "argv", ["main.py", "--input=gs://b/a", f"--deduplicate={value}"])
        assert launch() == 0
        assert sys.argv[1:] == ["--input=gs://b/a", *passed]
    assert not matches("deduplicate", "yes")


@pytest.mark.parametrize("given", [BATCH, [a for a in STREAM if a != "--streaming"]])
def test_the_launchers_program_is_the_command_line(given: list[str]) -> None:
    arguments = ["main.py", *given]
    with mock.patch.object(sys, "argv", arguments):
        assert launch() == 0
    assert ("--streaming" in arguments) == any("--subscription" in argument for argument in given)


def test_the_image_holds_files_that_are_there() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", Path(FOLDER / "Dockerfile").read_text(), flags=re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    assert names
    assert all((ROOT / name).exists() for name in names)
    beam = re.search(r"apache-beam==(\S+)", (ROOT / "requirements.txt").read_text())
    assert beam
    assert f"apache/beam_python3.11_sdk:{beam[1]}" in (FOLDER / "Dockerfile").read_text()
