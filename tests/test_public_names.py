"""The public names: what dir, help and type checkers show, and that importing the package loads nothing."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pipeline
from pipeline import __version__
from tests.support import ROOT

STUB = ROOT / "pipeline" / "__init__.pyi"


def test_each_name_of_the_stub_is_an_attribute() -> None:
    imports = [node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ImportFrom)]
    names = {alias.asname for node in imports for alias in node.names}
    assert names == set(pipeline.__all__)
    for name in names:
        assert getattr(pipeline, str(name)) is not None
    assert {"BatchEvents", "HourlyRows", "HourlyRow", "UniqueIds", "HourlyTable"} <= names


def test_dir_and_version() -> None:
    assert sorted([*pipeline.__all__, "__version__"]) == dir(pipeline)
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert not hasattr(pipeline, "HourlyRowz")


def test_help_shows_the_transforms() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pydoc", "pipeline"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    for text in ("class HourlyRows(", "class BatchEvents(", "hourly_table(events", f"VERSION\n    {__version__}"):
        assert text in done.stdout


def test_the_package_loads_no_beam() -> None:
    code = "import sys, pipeline; pipeline.hourly_table([]); sys.exit('apache_beam' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


USER = """
import apache_beam as beam
import pipeline

events = [{"id": "c8e3", "event": "impressions", "timestamp": 1617393003}]
table = pipeline.hourly_table(events)
row = pipeline.HourlyRow("2021-04-02T20:00:00+01:00", 1, 0, 0, 0, 0, 0, table[0]["impressions_scaled"])
hour: str = row.hour
with beam.Pipeline() as p:
    created = p | beam.Create(events)  # type: ignore[no-untyped-call]
    batches = created | pipeline.BatchEvents()
    rows = batches | pipeline.HourlyRows(time_zone="Europe/Paris")
    errors = batches.errors
"""
MISTAKES = {
    "n: int = pipeline.hourly_table(events)": 'variable has type "int"',
    "pipeline.HourlyRows(3)": 'expected "str | None"',
    "pipeline.HourlyRowz()": 'has no attribute "HourlyRowz"',
    "hours: int = row.hour": 'variable has type "int"',
    "pipeline.Block('x')": 'expected "bytes | memoryview',
}


def test_mypy_accepts_a_users_file_and_finds_each_mistake(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER + "\n".join(MISTAKES) + "\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}/cache", "user.py"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    errors = [line for line in done.stdout.splitlines() if line.startswith("user.py") and ": error:" in line]
    assert len(errors) == len(MISTAKES), done.stdout
    for number, (error, wanted) in enumerate(zip(errors, MISTAKES.values(), strict=True), USER.count("\n") + 1):
        assert error.startswith(f"user.py:{number}: ")
        assert wanted in error
