"""The server as a program: its name in the package, and standard streams that are closed or full, as in daemons."""

import contextlib
import importlib
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from tests.processes import await_true, free_port
from tests.support import EXAMPLE_REPORT, ROOT


def test_the_programs_of_the_package_are_there() -> None:
    scripts = re.findall(r'^hourly-report\S* = "([\w.]+):(\w+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert len(scripts) == 2
    for module, name in scripts:
        assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("name", ["bottle", "gunicorn", "prometheus_client"])
def test_without_the_extra(name: str) -> None:
    """One line that names it."""
    code = f"""
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == {name!r} else find(name)
from pipeline.cli.server import main
sys.exit(main(["--port=0"]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"error: {name} is not installed: pip install 'hourly-ad-report[server]'\n"


def post(port: int, body: bytes) -> tuple[int, bytes]:
    """The status and the answer; 0 where nobody listens yet, 503 where none is ready."""
    try:
        with contextlib.closing(urllib.request.urlopen(f"http://127.0.0.1:{port}/", body, 60)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""
    except urllib.error.URLError:
        return 0, b""


@pytest.mark.parametrize("streams", ["<&- >&- 2>&-", "2>/dev/full >/dev/full", "2>&-", "2> >(exec <&-; sleep 0)"])
def test_a_server_to_whom_nobody_listens(streams: str) -> None:
    port = free_port()
    command = f'exec "{sys.executable}" server.py --port {port} {streams}'
    with subprocess.Popen(["bash", "-c", command], cwd=ROOT, stdout=subprocess.PIPE) as server:
        try:
            body = (ROOT / "examples" / "events.json").read_bytes()
            await_true(lambda: server.poll() is not None or post(port, body) == (200, EXAMPLE_REPORT.encode()))
            assert post(port, b"{}") == (400, b"")
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
            assert server.stdout
            assert server.stdout.read() == b""
        finally:
            server.kill()
