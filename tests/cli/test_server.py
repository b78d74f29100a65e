"""The server as a program: its options, its name in the package, and standard streams that are closed or full."""

import contextlib
import importlib
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pipeline.cli.server import parse_settings
from pipeline.errors import UsageError
from pipeline.model.settings import ReportSettings
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "x"], "invalid"),
        (["--port", "99999"], "from 0 to 65535"),
        (["--concurrency", "0"], "must be from 1"),
        (["--queue_timeout", "-1"], "must be from 0"),
        (["--host", "0.0.0.0"], "--insecure"),
        (["--host", ""], "--insecure"),
        (["--host", "::"], "--insecure"),
        (["--token_file", "/nowhere"], "No such file"),
        (["--reports", "/nowhere"], "/nowhere is not a folder"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        parse_settings(arguments)


@pytest.mark.parametrize("content", ["", " \n", "two words", "\u00e9"])
def test_wrong_token_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    with pytest.raises(UsageError, match="--token_file"):
        parse_settings(["--token_file", str(tmp_path / "token")])


def test_settings(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    public = ["--host", "0.0.0.0"]
    assert parse_settings([*public, "--token_file", str(tmp_path / "token")]).token == "secret"
    assert parse_settings([*public, "--insecure"]).host == "0.0.0.0"
    beam = parse_settings(["--host", "localhost", "--runner", "FnApiRunner"]).beam_arguments
    assert beam == ("--runner=FnApiRunner",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runner", "X"], "runner X"),
        (["--time_zone", "Mars"], "unknown time zone"),
        (["--utc_offset", "+01:00", "--time_zone", "UTC"], "mutually exclusive"),
        (["--impressions_factor", "x"], "factor"),
        (["UTC"], "unknown option or stray argument: UTC"),
        (["--slots", "2"], "unknown option or stray argument: --slots"),
        (["--time_zon", "UTC"], "unknown option or stray argument: --time_zon: did you mean --time_zone?"),
        (["--stagin_location", "x"], "--stagin_location: did you mean --staging_location?"),
        (["--token-fil", "x"], "--token-fil: did you mean --token_file?"),
    ],
)
def test_options_that_cannot_work(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        parse_settings(arguments)


@pytest.mark.parametrize(
    ("token", "mode", "warnings"),
    [("0" * 32, 0o600, []), ("0" * 32, 0o644, ["readable by other users"]), ("x", 0o600, ["fewer than 16 characters"])],
)
def test_warnings_of_a_token_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, token: str, mode: int, warnings: list[str]
) -> None:
    path = tmp_path / "token"
    path.write_text(token)
    path.chmod(mode)
    assert parse_settings(["--token_file", str(path)]).token == token
    assert [warning in record.message for warning, record in zip(warnings, caplog.records, strict=True)] == [
        True for _ in warnings
    ]


def test_options_of_the_server_as_people_type_them() -> None:
    typed = "--utc-offset -05:00 --impressions-factor=2 --deduplicate --skip-rejects --max-body-bytes 7"
    settings = parse_settings(typed.split())
    assert settings.report == ReportSettings("-05:00", None, "2", deduplicate=True, skip_rejects=True)
    assert settings.max_body_bytes == 7


def test_a_zone_with_an_inverted_sign_gets_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    parse_settings(["--time_zone", "Etc/GMT+1"])
    assert [record.message for record in caplog.records] == [
        "time zone Etc/GMT+1 has the UTC offset -01:00: its sign is inverted"
    ]
