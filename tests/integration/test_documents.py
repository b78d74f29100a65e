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

from tests.integration.servers import TOOLS
from tests.serving_support import await_true
from tests.support import EXAMPLE_REPORT, HEADER, ROOT, copy_of_clone


def prism_as_downloaded(home: Path) -> None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    name = f"apache_beam-v{apache_beam.__version__}-prism-{platform.system().lower()}-{machine}"
    cache = home / ".apache_beam/cache/prism/bin"
    cache.mkdir(parents=True)
    with zipfile.ZipFile(cache / f"{name}.zip", "w") as archive:
        archive.write(TOOLS / "prism", name)


def test_the_stream_of_the_readme(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```sh\n(mkdir.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(block.splitlines()) == 3
    clone = copy_of_clone(tmp_path / "clone")
    prism_as_downloaded(tmp_path)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "HOME": str(tmp_path)}
    shell = subprocess.Popen(
        ["bash", "-c", f"{block}\nwait"], cwd=clone, env=environment, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        reports = clone / "reports"
        await_true(lambda: len(list(reports.glob("*.csv"))) == 3, seconds=150)
        found = [file.read_text() for file in sorted(reports.glob("*.csv"))]
    finally:
        os.killpg(shell.pid, signal.SIGTERM)
        shell.communicate(timeout=60)
    assert HEADER + "".join(text.removeprefix(HEADER) for text in found) == EXAMPLE_REPORT
