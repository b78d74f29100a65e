"""The files of deploy/: nginx before the server, the units of systemd, the options that the image starts with."""

import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cli.server import parse_settings
from tests.integration.servers import Proxy, proxied
from tests.processes import await_true
from tests.serving_support import EVENT, REPORT, SAMPLE, chunked, head, receive, running
from tests.support import ROOT

DEPLOY = ROOT / "deploy"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("nginx")
    with running(folder / "tmp", "--processes", "1") as server, proxied(server, folder) as proxy:
        yield proxy


def test_reports(proxy: Proxy) -> None:
    answer = proxy.ask(head(len(SAMPLE)) + SAMPLE)
    assert (answer.status, answer.body.decode()) == (200, REPORT)
    assert json.loads(answer.headers["X-Report-Summary"])["counted"] == 6
    assert "max-age" in answer.headers["Strict-Transport-Security"]
    large = (EVENT + "\n").encode() * 100_000
    packed = gzip.compress(large)
    for body, headers in ((large, {}), (packed, {"Content_Encoding": "gzip"})):
        answer = proxy.ask(head(len(body), **headers) + body)
        assert json.loads(answer.headers["X-Report-Summary"])["counted"] == 100_000


def test_without_tls_clients_are_sent_to_it(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.plain)) as connection:
        connection.sendall(head(0, "GET", "/?x=1"))
        answer = receive(connection)
    assert (answer.status, answer.headers["Location"]) == (308, "https://localhost/?x=1")


def test_chunks_and_waiting_to_go_on(proxy: Proxy) -> None:
    assert proxy.ask(chunked(SAMPLE, len(SAMPLE)) + b"0\r\n\r\n").body.decode() == REPORT
    with proxy.connect() as connection:
        connection.sendall(head(len(SAMPLE), Expect="100-continue"))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(SAMPLE)
        assert receive(connection).body.decode() == REPORT


def test_options_and_problems_pass(proxy: Proxy) -> None:
    answer = proxy.ask(head(len(SAMPLE), path="/?utc_offset=%2B05:30") + SAMPLE)
    assert answer.body.decode().splitlines()[1].startswith("2021-04-02T23:00:00+05:30")
    problem = proxy.ask(head(2) + b"{}").problem
    assert problem["rejects"][0]["line"] == 1
    assert proxy.ask(head(300 * 1024 * 1024)).status == 413


def test_connections_are_kept(proxy: Proxy) -> None:
    with proxy.connect() as connection:
        for _ in range(50):
            connection.sendall(head(len(SAMPLE)) + SAMPLE)
            assert receive(connection).body.decode() == REPORT


def test_page_and_metrics(proxy: Proxy) -> None:
    page = proxy.ask(head(0, "GET"))
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    host = f"localhost:{proxy.port}"
    same_origin = {"Host": host, "Origin": f"https://{host}"}
    assert proxy.ask(head(len(SAMPLE), **same_origin) + SAMPLE).status == 200
    assert b"hourly_report_workspaces " in proxy.ask(head(0, "GET", "/metrics")).body


def test_the_log_has_the_address_of_the_client(proxy: Proxy) -> None:
    """The one that nginx sees, not one that the client claims."""
    proxy.ask(head(2, X_Forwarded_For="192.0.2.1") + b"[]")
    await_true(lambda: "127.0.0.1 POST report 200 bytes=2" in proxy.server.log)
    assert "192.0.2.1" not in proxy.server.log


def test_unit(tmp_path: Path) -> None:
    """What systemd says of it; its command, but for where it is installed, is one that the server takes."""
    text = (DEPLOY / "hourly-report.service").read_text()
    (command,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    installed, *arguments = command.replace("%d", str(tmp_path)).split()
    (tmp_path / "token").write_text("0" * 32)
    assert parse_settings(arguments).log_format == "json"
    unit = tmp_path / "hourly-report.service"
    unit.write_text(text.replace(installed, sys.executable))
    if shutil.which("systemd-analyze") is None:
        return
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    security = ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", str(unit)]
    done = subprocess.run(security, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_image(tmp_path: Path) -> None:
    """Its options are ones that the server takes; it is built where there is Docker."""
    lines = re.findall(r"^(?:ENTRYPOINT|CMD) (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    program, *arguments = [word for line in lines for word in json.loads(line)]
    (tmp_path / "token").write_text("secret")
    settings = parse_settings([word.replace("/run/secrets", str(tmp_path)) for word in arguments])
    assert (program, settings.host, settings.token) == ("hourly-report-server", "0.0.0.0", "secret")


def test_the_image_gets_nothing_but_what_it_needs() -> None:
    """Neither history nor environments nor tokens are sent to Docker."""
    copied = re.findall(r"^COPY (.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    assert {line.removeprefix("!") for line in lines[1:] if line.startswith("!")} == set(" ".join(copied).split())
    assert all(os.path.exists(ROOT / line.removeprefix("!")) for line in lines if line.startswith("!"))
