"""The wheel in an empty environment, away from the clone: both commands, the page, and nothing but what is declared."""

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


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the installed commands."""
    folder = tmp_path_factory.mktemp("package")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    clone = copy_of_clone(folder / "clone")
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(clone)], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
    pins = ["--constraint", str(ROOT / "requirements.txt")]
    into = ["--python", str(folder / "env/bin/python")]
    subprocess.run([*pip, *into, "install", *pins, f"{wheel}[server]"], check=True)
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
