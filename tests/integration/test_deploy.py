"""The files of deploy/: nginx before the server, the unit of systemd, the options that the image starts with."""

import contextlib
import gzip
import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cli.server_options import parse_settings
from tests.integration.servers import program
from tests.serving_support import EVENT, REPORT, SAMPLE, Answer, Server, await_true, head, receive, running
from tests.support import ROOT

DEPLOY = ROOT / "deploy"


class Proxy:
    """nginx with the site of deploy/, but for its ports, before a server."""

    def __init__(self, port: int, server: Server) -> None:
        self.port, self.server = port, server

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.settimeout(60)
        return connection

    def ask(self, request: bytes) -> Answer:
        with self.connect() as connection:
            connection.sendall(request)
            return receive(connection)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("nginx")
    with running(folder / "tmp", "--processes", "1", "--timeout", "5") as server:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = int(probe.getsockname()[1])
        site = (DEPLOY / "nginx.conf").read_text()
        site = site.replace("listen 80;", f"listen 127.0.0.1:{port};").replace(
            "127.0.0.1:8080", f"127.0.0.1:{server.port}"
        )
        temporary = "".join(
            f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        http = f"access_log off; {temporary} {site}"
        (folder / "nginx.conf").write_text(
            f"daemon off; user root; pid {folder}/pid; error_log stderr; events {{}} http {{ {http} }}"
        )
        nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin") or "nginx"
        with program(nginx, "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr"):
            proxy = Proxy(port, server)
            await_true(lambda: answers(proxy))
            yield proxy


def answers(proxy: Proxy) -> bool:
    with contextlib.suppress(ConnectionError):
        return proxy.ask(head(0, "GET", "/healthz")).status == 200
    return False


def test_reports(proxy: Proxy) -> None:
    answer = proxy.ask(head(len(SAMPLE)) + SAMPLE)
    assert (answer.status, answer.body.decode()) == (200, REPORT)
    assert json.loads(answer.headers["X-Report-Summary"])["counted"] == 6
    large = (EVENT + "\n").encode() * 100_000
    packed = gzip.compress(large)
    for body, headers in ((large, {}), (packed, {"Content_Encoding": "gzip"})):
        answer = proxy.ask(head(len(body), **headers) + body)
        assert json.loads(answer.headers["X-Report-Summary"])["counted"] == 100_000


def test_chunks_and_waiting_to_go_on(proxy: Proxy) -> None:
    chunks = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
    assert proxy.ask(chunks % (len(SAMPLE), SAMPLE)).body.decode() == REPORT
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


def test_connections_are_kept_and_renewed(proxy: Proxy) -> None:
    """More requests than the server grants a connection."""
    with proxy.connect() as connection:
        for _ in range(50):
            connection.sendall(head(len(SAMPLE)) + SAMPLE)
            assert receive(connection).body.decode() == REPORT


def test_page_and_metrics(proxy: Proxy) -> None:
    assert proxy.ask(head(0, "GET")).headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"hourly_report_slots " in proxy.ask(head(0, "GET", "/metrics")).body


def test_unit(tmp_path: Path) -> None:
    """What systemd says of it; its command, but for where it is installed, is one that the server takes."""
    text = (DEPLOY / "hourly-report.service").read_text()
    (command,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    installed, *arguments = command.split()
    assert parse_settings(arguments).log_format == "json"
    unit = tmp_path / "hourly-report.service"
    unit.write_text(text.replace(installed, sys.executable))
    if shutil.which("systemd-analyze") is None:
        return
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_image(tmp_path: Path) -> None:
    """Its options are ones that the server takes; it is built where there is Docker."""
    lines = re.findall(r"^(?:ENTRYPOINT|CMD) (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    program, *arguments = [word for line in lines for word in json.loads(line)]
    (tmp_path / "token").write_text("secret")
    settings = parse_settings([word.replace("/run/secrets", str(tmp_path)) for word in arguments])
    assert (program, settings.host, settings.token) == ("hourly-report-server", "0.0.0.0", "secret")
