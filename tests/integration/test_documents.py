"""The README's stream, run as written in a copy of a clone, with Prism where Beam's download would have put it."""

import os
import platform
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import apache_beam
import pytest

from tests.integration.servers import TOOLS
from tests.processes import await_true
from tests.support import EXAMPLE_REPORT, HEADER, ROOT, copy_of_clone


def prism_as_downloaded(home: Path) -> None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    name = f"apache_beam-v{apache_beam.__version__}-prism-{platform.system().lower()}-{machine}"
    cache = home / ".apache_beam/cache/prism/bin"
    cache.mkdir(parents=True)
    with zipfile.ZipFile(cache / f"{name}.zip", "w") as archive:
        archive.write(TOOLS / "prism", name)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    prism_as_downloaded(tmp_path)
    return copy_of_clone(tmp_path / "clone")


def started(script: str, clone: Path) -> "subprocess.Popen[bytes]":
    """A shell in which the environment is activated."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "HOME": str(clone.parent)}
    return subprocess.Popen(
        ["bash", "-c", script],
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def test_the_stream_of_the_readme(clone: Path) -> None:
    (block,) = re.findall(r"^```sh\n(mkdir.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(block.splitlines()) == 3
    shell = started(f"{block}\nwait", clone)
    try:
        reports = clone / "reports"
        await_true(lambda: len(list(reports.glob("*.csv"))) == 3, seconds=150)
        found = [file.read_text() for file in sorted(reports.glob("*.csv"))]
    finally:
        os.killpg(shell.pid, signal.SIGTERM)
        shell.communicate(timeout=60)
    assert HEADER + "".join(text.removeprefix(HEADER) for text in found) == EXAMPLE_REPORT


def test_the_stream_of_the_tutorial(clone: Path) -> None:
    text = (ROOT / "docs" / "tutorial.md").read_text()
    makes = re.findall(r"^\$ ((?:mkdir|echo) .*)$", text, re.MULTILINE)
    (block,) = re.findall(r"^```sh\n(mkdir.*?)^```", text, re.DOTALL | re.MULTILINE)
    shell = started("\n".join([*makes, block]), clone)
    output, errors = shell.communicate(timeout=150)
    assert output.decode() == f"{HEADER}2021-04-02T20:00:00+01:00,1,1,0,0,0,0,0.1\n", errors.decode()
    assert shell.returncode == 0, errors.decode()
    assert "2 events read, 2 counted" in errors.decode()
