"""The HTTP trigger: in process through wsgiref.validate, and as a real process on a loopback port."""

import gzip
import io
import json
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

import server
from pipeline.errors import UsageError

ROOT = Path(__file__).parent.parent
SAMPLE = (ROOT / "examples" / "events.json").read_bytes()
REPORT = """\
hour,impressions,video_start,video_25,video_50,video_75,video_completed,impressions_scaled
2021-04-02T18:00:00+01:00,0,1,1,0,0,0,0.0
2021-04-02T20:00:00+01:00,0,0,1,0,0,0,0.0
2021-04-02T22:00:00+01:00,0,0,1,1,0,1,0.0
"""
HEADER = "hour,impressions,video_start,video_25,video_50,video_75,video_completed,impressions_scaled\n"
EVENT = '{"id": "a", "event": "video_25", "timestamp": 1617393003}'


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
        text = self.body.decode()
        assert "Traceback" not in text
        assert not re.search(r"/(tmp|work|home|root|usr)\b", text)
        assert "[while running" not in text
        assert "--rejects_output" not in text
        return problem


def call(app: Any, body: bytes = b"", method: str = "POST", path: str = "/", **environ: str) -> Answer:
    request: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "CONTENT_LENGTH": str(len(body)), **environ}
    request["wsgi.input"] = io.BytesIO(body)
    setup_testing_defaults(request)
    request["SCRIPT_NAME"] = request["QUERY_STRING"] = ""
    answers: list[tuple[int, dict[str, str]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> Any:
        answers.append((int(status[:3]), dict(headers)))
        return lambda data: None

    result = validator(app)(request, start_response)
    content = b"".join(result)
    result.close()
    return Answer(*answers[0], content)


@pytest.fixture(scope="module")
def app() -> Any:
    return server.make_app(server.Settings())


def test_sample(app: Any) -> None:
    answer = call(app, SAMPLE)
    assert answer.status == 200
    assert answer.body.decode() == REPORT
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="report.csv"'
    assert answer.headers["X-Report-Summary"] == '{"read":6,"counted":6,"rejected":0,"hours":3}'


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
def test_gzip(app: Any, encoding: str) -> None:
    half = len(SAMPLE) // 2
    body = gzip.compress(SAMPLE[:half]) + gzip.compress(SAMPLE[half:])
    assert call(app, body, HTTP_CONTENT_ENCODING=encoding).body.decode() == REPORT


@pytest.mark.parametrize("body", ["", "[]", '{"mock_for_test": []}', "\n\n"])
def test_no_events(app: Any, body: str) -> None:
    answer = call(app, body.encode())
    assert (answer.status, answer.body.decode()) == (200, HEADER)
    assert json.loads(answer.headers["X-Report-Summary"]) == {"read": 0, "counted": 0, "rejected": 0, "hours": 0}


@pytest.mark.parametrize("shape", ["[{}]", '{{"mock_for_test": [{}]}}', "{}"])
def test_shapes(app: Any, shape: str) -> None:
    join = "\n" if shape == "{}" else ","
    answer = call(app, shape.format(join.join([EVENT, EVENT])).encode())
    assert answer.body.decode() == HEADER + "2021-04-02T20:00:00+01:00,0,0,2,0,0,0,0.0\n"


BAD_RECORDS = {
    "unknown event": ('{"id": "a", "event": "click", "timestamp": 1}', "unknown event 'click'"),
    "missing key": ('{"id": "a", "event": "video_25"}', "missing timestamp"),
    "boolean": ('{"id": "a", "event": "video_25", "timestamp": true}', "not a boolean"),
    "fraction": ('{"id": "a", "event": "video_25", "timestamp": 1.0}', "not a number with a fraction"),
    "string": ('{"id": "a", "event": "video_25", "timestamp": "1"}', "not a string"),
    "null": ('{"id": null, "event": "video_25", "timestamp": 1}', "not null"),
    "milliseconds": ('{"id": "a", "event": "video_25", "timestamp": 1617393003000}', "milliseconds?"),
    "huge": ('{"id": "a", "event": "video_25", "timestamp": %s}' % ("9" * 5000), "must be below"),
    "twice": ('{"id": "a", "id": "b", "event": "video_25", "timestamp": 1}', "the name 'id' stands twice"),
    "not an object": ("[1]", "not an object but an array"),
}


@pytest.mark.parametrize(("record", "reason"), BAD_RECORDS.values(), ids=BAD_RECORDS)
@pytest.mark.parametrize("lines", [True, False], ids=["lines", "array"])
def test_reject(app: Any, record: str, reason: str, lines: bool) -> None:
    body = f"{EVENT}\n\n{record}\n{EVENT}\n" if lines else f"[{EVENT}, {record}, {EVENT}]"
    problem = call(app, body.encode()).problem
    assert (problem["status"], problem["read"], problem["rejected"]) == (400, 3, 1)
    (reject,) = problem["rejects"]
    assert reject["index"] == 1
    assert reject["offset"] == body.index(record)
    assert reason in reject["reason"]


def test_first_ten_rejects(app: Any) -> None:
    problem = call(app, b"\n".join([EVENT.encode(), *[b"x"] * 25])).problem
    assert problem["rejected"] == 25
    assert [reject["index"] for reject in problem["rejects"]] == list(range(1, 11))


BROKEN = {
    "truncated": f"[{EVENT},",
    "open": '[{"id": "a"',
    "NaN": '[{"id": "a", "event": "video_25", "timestamp": NaN}]',
    "trailing comma": f"[{EVENT},]",
    "more behind": f"[{EVENT}] 1",
    "deep": "[" * 10_000 + "]" * 10_000,
    "mock": '{"mock_for_test": [',
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_broken_array(app: Any, body: str) -> None:
    problem = call(app, body.encode()).problem
    assert problem["status"] == 400
    assert "body: byte" in problem["detail"]


@pytest.mark.parametrize("body", [b'{"id": "\xff"}', b"\x00", b"{" * 10_000, EVENT.encode()[:-1]])
def test_broken_line(app: Any, body: bytes) -> None:
    problem = call(app, body).problem
    assert problem["rejected"] == 1
    assert problem["rejects"][0]["reason"].startswith("not JSON")


def test_too_large() -> None:
    assert call(server.make_app(server.Settings(max_body_bytes=len(SAMPLE))), SAMPLE).status == 200
    assert call(server.make_app(server.Settings(max_body_bytes=len(SAMPLE) - 1)), SAMPLE).problem["status"] == 413
    bomb = gzip.compress(b" " * 1_000_000)
    assert len(bomb) == pytest.approx(1000, abs=50)
    app = server.make_app(server.Settings(max_body_bytes=2000))
    assert call(app, bomb, HTTP_CONTENT_ENCODING="gzip").problem["status"] == 413


def test_unknown_encoding(app: Any) -> None:
    assert call(app, SAMPLE, HTTP_CONTENT_ENCODING="br").problem["status"] == 415


@pytest.mark.parametrize("body", [b"no", gzip.compress(SAMPLE)[:-9], gzip.compress(SAMPLE) + b"junk"])
def test_broken_gzip(app: Any, body: bytes) -> None:
    assert call(app, body, HTTP_CONTENT_ENCODING="gzip").problem["status"] == 400


@pytest.mark.parametrize("length", ["-1", "abc", "1e3"])
def test_bad_length(app: Any, length: str) -> None:
    request = {"REQUEST_METHOD": "POST", "PATH_INFO": "/", "CONTENT_LENGTH": length, "wsgi.input": io.BytesIO(b"x")}
    setup_testing_defaults(request)
    statuses: list[str] = []
    list(app(request, lambda status, headers, exc_info=None: statuses.append(status)))
    assert statuses == ["400 Bad Request"]


def test_body_shorter_than_declared(app: Any) -> None:
    problem = call(app, SAMPLE, CONTENT_LENGTH=str(len(SAMPLE) + 5)).problem
    assert "5 bytes are missing" in problem["detail"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods(app: Any, method: str) -> None:
    answer = call(app, method=method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "POST"
    assert answer.problem


def test_other_paths(app: Any) -> None:
    assert call(app, SAMPLE, path="/report").problem["status"] == 404


def test_busy(app: Any) -> None:
    """A request that comes while another is read finds no slot."""
    app = server.make_app(server.Settings(slots=1))
    inner: list[Answer] = []

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if not inner:
                inner.append(call(app, SAMPLE))
            return super().read(size)

    request: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": "/", "CONTENT_LENGTH": str(len(SAMPLE))}
    setup_testing_defaults(request)
    request["wsgi.input"] = Slow(SAMPLE)
    statuses: list[str] = []
    body = b"".join(app(request, lambda status, headers, exc_info=None: statuses.append(status)))
    assert statuses == ["200 OK"]
    assert body.decode() == REPORT
    assert inner[0].problem["status"] == 503
    assert int(inner[0].headers["Retry-After"]) > 0


def test_a_defect_shows_no_internals(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("/tmp/secret")

    monkeypatch.setattr(server, "run_job", fail)
    answer = call(app, SAMPLE, **{"wsgi.errors": io.StringIO()})  # type: ignore[arg-type]
    assert answer.problem["status"] == 500
    assert b"secret" not in answer.body


def test_no_files_are_left(app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert call(app, SAMPLE).status == 200
    assert call(app, b"x").status == 400
    assert list(tmp_path.iterdir()) == []


def test_unknown_option() -> None:
    with pytest.raises(UsageError, match="--runer"):
        server.make_app(server.Settings(), ["--runer=X"])


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A real server on a free port."""
    command = [sys.executable, "server.py", "--port", "0", "--max_body_bytes", "100000"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        yield line.split()[-1]
        process.terminate()


def test_process(address: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(address, SAMPLE)) as answer:
        assert answer.read().decode() == REPORT


def test_process_chunked(address: str) -> None:
    host, port = address.split("/")[2].split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        for k in range(0, len(SAMPLE), 100):
            piece = SAMPLE[k : k + 100]
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(REPORT.encode())


def test_process_too_large(address: str) -> None:
    host, port = address.split("/")[2].split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")  # and no body
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "arguments", [["--port", "x"], ["--port", "99999"], ["--host", "256.0.0.1"], ["--slots", "0"], ["--runer", "X"]]
)
def test_wrong_usage(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "server.py", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "error:" in done.stderr
