"""The wheel in an empty environment, away from the clone: commands, the page, and a package that depends on it."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.serving_support import REPORT, SAMPLE
from tests.support import ROOT, copy_of_clone

USER_PROJECT = """
[project]
name = "ad-dashboard"
version = "1"
dependencies = ["hourly-ad-report"]

[tool.setuptools]
py-modules = ["ad_dashboard"]
"""

USER_MODULE = """
import importlib.resources
import json
import sys

import apache_beam as beam
import pipeline


def top_hours(messages, windows=None):
    batches = messages | pipeline.BatchEvents()
    rows = batches | pipeline.HourlyRows(windows=windows)
    return rows | beam.Map(lambda row: f"{row.hour[11:13]} {sum(row[1:7])}"), batches.errors


if __name__ == "__main__":
    assert importlib.resources.files("pipeline").joinpath("py.typed").is_file()
    lines = [json.dumps(event) for event in json.load(sys.stdin)["mock_for_test"]]
    with beam.Pipeline(argv=["--runner=FnApiRunner"]) as p:
        hours, errors = top_hours(p | beam.Create([*lines, "x"]))
        _ = (hours, errors | beam.Map(lambda error: f"! {error.record}")) | beam.Flatten() | beam.Map(print)
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the installed commands."""
    folder = tmp_path_factory.mktemp("package")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    clone = copy_of_clone(folder / "clone")
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(clone)], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
    into = ["--python", str(folder / "env/bin/python")]
    subprocess.run([*pip, *into, "install", "-r", str(ROOT / "requirements.txt")], check=True)
    subprocess.run([*pip, *into, "install", "--no-deps", str(wheel)], check=True)
    return folder / "env/bin"


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def test_the_command(programs: Path, tmp_path: Path) -> None:
    events = tmp_path / "events.json"
    events.write_bytes(SAMPLE)
    done = subprocess.run(
        [programs / "hourly-report", "events.json", "--output", "-"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == REPORT
    shown = subprocess.run([programs / "hourly-report", "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("hourly-report ")


def test_the_server_and_its_page(programs: Path, tmp_path: Path) -> None:
    command = [programs / "hourly-report-server", "--port", "0"]
    server = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        address = server.stderr.readline().split()[-1]
        with urllib.request.urlopen(urllib.request.Request(address, SAMPLE)) as answer:
            assert answer.read().decode() == REPORT
        with urllib.request.urlopen(urllib.request.Request(address, headers={"Accept": "text/html"})) as answer:
            page = answer.read().decode()
        assert "<html" in page
        with urllib.request.urlopen(f"{address}openapi.json") as answer:
            assert json.load(answer)["openapi"]
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=90)
    assert server.returncode == 0


def test_a_package_that_depends_on_it(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "pyproject.toml").write_text(USER_PROJECT)
    (tmp_path / "user" / "ad_dashboard.py").write_text(USER_MODULE)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", str(programs / "python")]
    subprocess.run([*pip, "install", "--no-deps", str(tmp_path / "user")], check=True)
    subprocess.run([*pip, "check"], check=True)
    command = [programs / "python", "-m", "ad_dashboard"]
    done = subprocess.run(command, input=SAMPLE, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, check=True)
    assert sorted(done.stdout.decode().splitlines()) == ["! x", "18 2", "20 1", "22 3"]
