"""Help for the tests of the server: calls in process, and a real server with raw sockets and its metrics."""

import contextlib
import io
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from prometheus_client.parser import text_string_to_metric_families

from bench.processes import children
from pipeline.engine.runners import beam_options
from pipeline.serving import Settings
from pipeline.serving.app import ReportApp
from pipeline.serving.telemetry import Metrics
from pipeline.serving.workspaces import Workspace, WorkspacePool
from tests import oracle
from tests.processes import await_true, command_line
from tests.support import ROOT

SAMPLE = (ROOT / "examples" / "events.json").read_bytes()
REPORT = (ROOT / "tests" / "files" / "report.csv").read_text()
ROWS = oracle.read(SAMPLE).events
EVENT = '{"id": "a", "event": "video_25", "timestamp": 1617393003}'
LIMIT = 400_000  # bytes of a body of the shared server
LARGE = (EVENT + "\n").encode() * 6000  # a body that goes to a file
SKIP = "/?rejects=skip"
CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"  # the head of a request
SLOW = (EVENT + "\n" + "x\n" * 200_000).encode()  # with SKIP a second of work, which nobody misses who looks for it


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["Content-Type"] == "application/problem+json"
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        assert problem["title"]
        assert_no_internals(self.body.decode())
        return problem


def assert_no_internals(text: str) -> None:
    assert "Traceback" not in text
    assert not re.search(r"/(tmp|work|home|root|usr)\b", text)
    assert "[while running" not in text
    assert "--rejects_output" not in text
    assert not re.search("waitress|gunicorn", text)


def build_report_app(
    folder: Path, settings: Settings | None = None, *beam_arguments: str, workspaces: int = 1
) -> ReportApp:
    """An application with workspaces of its own, whose requests do not wait for one."""
    settings, metrics = settings or Settings(), Metrics()
    options = beam_options(beam_arguments)
    made = [Workspace(folder / f"workspace-{k}", options, settings) for k in range(workspaces)]
    return ReportApp(settings, folder, WorkspacePool(made, 0, metrics), metrics)


def build_app(folder: Path, settings: Settings | None = None, *beam_arguments: str, workspaces: int = 1) -> Any:
    """The WSGI application."""
    return build_report_app(folder, settings, *beam_arguments, workspaces=workspaces).wsgi()


def environ(body: bytes = b"", method: str = "POST", path: str = "/", **more: Any) -> dict[str, Any]:
    request: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "CONTENT_LENGTH": str(len(body))}
    request["wsgi.input"] = io.BytesIO(body)
    request["wsgi.errors"] = io.StringIO()
    request.update(more)
    setup_testing_defaults(request)
    request["SCRIPT_NAME"] = ""
    request.setdefault("QUERY_STRING", "")
    return request


def call(app: Any, body: bytes = b"", method: str = "POST", path: str = "/", **more: Any) -> Answer:
    """A call that keeps to WSGI, or fails."""
    return _call(validator(app), environ(body, method, path, **more))


def ask(app: Any, body: bytes = SAMPLE, **options: str) -> Answer:
    """A request with options."""
    return call(app, body, QUERY_STRING=urlencode(options))


def call_loosely(app: Any, **more: Any) -> Answer:
    """A call that need not keep to WSGI."""
    return _call(app, environ(**more))


def _call(app: Any, request: dict[str, Any]) -> Answer:
    answers: list[tuple[int, dict[str, str]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> Any:
        answers.append((int(status[:3]), dict(headers)))
        return lambda data: None

    result = app(request, start_response)
    try:
        content = b"".join(result)
    finally:
        if hasattr(result, "close"):
            result.close()
    return Answer(*answers[0], content)


class Server:
    """A server in processes of its own; its log is a file. temporary: where it makes its folder.

    wrapper: a program that runs it.
    """

    wrapper: tuple[str, ...] = ()

    def __init__(self, temporary: Path, *arguments: str, **environment: str) -> None:
        self.temporary = temporary
        self.log_file = temporary.parent / f"{temporary.name}.log"
        environment |= {"PATH": "/usr/bin:/bin", "TMPDIR": str(temporary), "HOME": str(Path.home())}
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, sys.executable, "server.py", "--port", "0", *arguments],
                cwd=ROOT,
                stderr=log,
                env=environment,
            )
        await_true(lambda: "listening on" in self.log or self.process.poll() is not None)
        assert "listening on" in self.log, self.log
        self.port = int((re.findall(r"listening on http://.*:(\d+)/", self.log) or [0])[0])

    @property
    def address(self) -> str:
        """The page's."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def workers(self) -> list[int]:
        """Process ids."""
        return [process for process in children(self.process.pid) if b"resource_tracker" not in command_line(process)]

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.settimeout(60)
        return connection

    def post(self, body: bytes = SAMPLE, path: str = "/", **headers: str) -> Answer:
        with self.connect() as connection:
            connection.sendall(head(len(body), path=path, **headers) + body)
            return receive(connection)

    def get(self, path: str = "/", **headers: str) -> Answer:
        with self.connect() as connection:
            connection.sendall(head(0, "GET", path, **headers))
            return receive(connection)

    def stop(self) -> int:
        """Ends it gracefully; the status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextlib.contextmanager
def running(temporary: Path, *arguments: str, **environment: str) -> Iterator[Server]:
    """A server that is stopped at the end, whatever happens."""
    temporary.mkdir(exist_ok=True)
    server = Server(temporary, *arguments, **environment)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


def head(length: int | str, method: str = "POST", path: str = "/", **headers: str) -> bytes:
    """The head of a request."""
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    host = "" if "Host" in headers else "Host: localhost\r\n"
    return f"{method} {path} HTTP/1.1\r\n{host}Content-Length: {length}\r\n{more}\r\n".encode()


def receive(connection: socket.socket) -> Answer:
    """The next answer on a connection."""
    with connection.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        headers = {}
        while (line := stream.readline().decode().strip()) != "":
            name, _, value = line.partition(": ")
            headers[name] = value
        return Answer(status, headers, stream.read(int(headers.get("Content-Length", 0))))


def metrics(server: Server) -> dict[str, float]:
    answer = server.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = text_string_to_metric_families(answer.body.decode())
    return {
        sample.name + ("{" + ",".join(f'{k}="{v}"' for k, v in sample.labels.items()) + "}") * bool(sample.labels): (
            sample.value
        )
        for family in families
        for sample in family.samples
    }


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[k : k + size] for k in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return CHUNKED + framed


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name in ("body", "report.csv")]
