"""HTTP as clients see it: statuses, problem documents, bodies, options, the token, health, metrics, log lines."""

import gzip
import json
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest
import requests
import zstandard

from tests.processes import await_true
from tests.serving_support import (
    CHUNKED,
    EVENT,
    LIMIT,
    REPORT,
    SAMPLE,
    SKIP,
    Answer,
    Server,
    chunked,
    head,
    metrics,
    receive,
    running,
)
from tests.support import HEADER, ROOT

GZIP, ZSTD = gzip.compress(SAMPLE, mtime=0), zstandard.compress(SAMPLE)
PARQUET = (ROOT / "tests/files/df.parquet.gzip").read_bytes()
LINE = EVENT.encode() + b"\n"


def exchange(server: Server, *sent: bytes) -> Answer:
    """The answer to a request that is sent in pieces; the client then closes its side."""
    with server.connect() as connection:
        for piece in sent:
            connection.sendall(piece)
        return receive(connection)


def status_or_closed(server: Server, *sent: bytes) -> int:
    """The status of the answer; 0 where the connection is closed without one."""
    with server.connect() as connection:
        for piece in sent:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            line = stream.readline()
    return int(line.split()[1]) if line else 0


def test_report(server: Server) -> None:
    answer = requests.post(server.address, SAMPLE)
    assert (answer.status_code, answer.text) == (200, REPORT)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="report.csv"'
    assert answer.headers["X-Report-Summary"] == '{"read":6,"counted":6,"rejected":0,"hours":3}'
    old = head(len(SAMPLE)).replace(b"HTTP/1.1", b"HTTP/1.0")
    assert exchange(server, old, SAMPLE).body.decode() == REPORT


BODIES = {
    "object": (SAMPLE, ""),
    "array": (json.dumps(json.loads(SAMPLE)["mock_for_test"]).encode(), ""),
    "lines": ("\n".join(map(json.dumps, json.loads(SAMPLE)["mock_for_test"])).encode(), ""),
    "gzip": (GZIP, "gzip"),
    "zstd": (ZSTD, "zstd"),
    "members": (gzip.compress(SAMPLE[:99]) + gzip.compress(SAMPLE[99:]), "gzip"),
    "Parquet": (PARQUET, ""),
    "Parquet in gzip": (gzip.compress(PARQUET), "gzip"),
}


@pytest.mark.parametrize(("body", "encoding"), BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunks"])
def test_bodies(server: Server, body: bytes, encoding: str, is_chunked: bool) -> None:
    headers = {"Content-Encoding": encoding} if encoding else {}
    data = iter([body[:10], body[10:]]) if is_chunked else body
    answer = requests.post(server.address, data, headers=headers)
    assert (answer.status_code, answer.text) == (200, REPORT)


def test_a_large_body(server: Server) -> None:
    """It goes through a file, by length or in small chunks."""
    body = LINE * (LIMIT // len(LINE))
    expected = f"{HEADER}2021-04-02T20:00:00+01:00,0,0,{LIMIT // len(LINE)},0,0,0,0.0\n"
    assert requests.post(server.address, body).text == expected
    with server.connect() as connection:
        connection.sendall(chunked(body, 3) + b"0\r\nX-Sum: x\r\n\r\n")
        assert receive(connection).body.decode() == expected
        connection.sendall(head(len(SAMPLE)) + SAMPLE)  # the connection is kept
        assert receive(connection).body.decode() == REPORT


OLD_CHUNKED = CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0")
NO_REPORT = {
    "cut body": head(len(SAMPLE)) + SAMPLE[:-1],
    "cut gzip body": head(len(GZIP), Content_Encoding="gzip") + GZIP[:-1],
    "cut chunk": CHUNKED + b"%x\r\n%s" % (len(SAMPLE) + 1, SAMPLE),
    "no last chunk": CHUNKED + b"%x\r\n%s\r\n" % (len(SAMPLE), SAMPLE),
    "no end of the last chunk": CHUNKED + b"%x\r\n%s\r\n0\r\n" % (len(SAMPLE), SAMPLE),
    "chunk of a wrong size": CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(SAMPLE) - 1, SAMPLE),
    "size that is no number": CHUNKED + b"xyz\r\n%s\r\n0\r\n\r\n" % SAMPLE,
    "negative size": CHUNKED + b"-5\r\n%s\r\n0\r\n\r\n" % SAMPLE,
    "bare line feeds": CHUNKED + b"%x\n%s\n0\n\n" % (len(SAMPLE), SAMPLE),
    "no length": b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n" + SAMPLE,
    "no length, old": b"POST / HTTP/1.0\r\n\r\n" + SAMPLE,
    "chunks in HTTP/1.0": OLD_CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(SAMPLE), SAMPLE),
    "two lengths": head(len(SAMPLE), Content_Length=str(len(SAMPLE) - 1)) + SAMPLE,
    "length and chunks": head(5, Transfer_Encoding="chunked") + b"%x\r\n%s\r\n0\r\n\r\n" % (len(SAMPLE), SAMPLE),
    "doubled chunked": head(5, Transfer_Encoding="chunked, chunked").replace(b"Content-Length: 5\r\n", b"")
    + b"%x\r\n%s\r\n0\r\n\r\n" % (len(SAMPLE), SAMPLE),
    "two hosts": head(len(SAMPLE), Host="localhost\r\nHost: 127.0.0.1") + SAMPLE,
    "negative length": head("-5") + SAMPLE,
    "length in hexadecimal": head("0x5") + SAMPLE,
    "signed length": head(f"+{len(SAMPLE)}") + SAMPLE,
    "length of 5,000 digits": head("9" * 5000) + SAMPLE,
    "HTTP/9.9": head(len(SAMPLE)).replace(b"HTTP/1.1", b"HTTP/9.9") + SAMPLE,
    "no HTTP": b"hello\r\n\r\n" + SAMPLE,
    "folded line": head(len(SAMPLE), X="a\r\n b") + SAMPLE,
    "blank before a colon": head(len(SAMPLE)).replace(b"Host:", b"Host :") + SAMPLE,
    "many lines": head(len(SAMPLE)).replace(b"Host:", b"a:\r\n" * 2000 + b"Host:") + SAMPLE,
    "long line": head(len(SAMPLE), X="x" * 300_000) + SAMPLE,
    "target that is no address": b"POST http://[ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
    "script name": head(len(SAMPLE), Script_Name="x").replace(b"Script-Name", b"SCRIPT_NAME") + SAMPLE[:-1],
}


@pytest.mark.parametrize("request_", NO_REPORT.values(), ids=NO_REPORT)
def test_no_report_of_what_is_cut_or_malformed(server: Server, request_: bytes) -> None:
    """A client's mistake: 4xx or a closed connection, 501 for a transfer encoding; never 500."""
    status = status_or_closed(server, request_)
    assert status == 0 or 400 <= status < 500 or status in (501, 505)
    assert server.post().status == 200


PROBLEMS = {
    "reject": ("POST", "/", {}, b"[1]", 400),
    "broken": ("POST", "/", {}, b"[1", 400),
    "not gzip": ("POST", "/", {"Content-Encoding": "gzip"}, SAMPLE, 400),
    "cut gzip": ("POST", "/", {"Content-Encoding": "gzip"}, GZIP[:-3], 400),
    "empty gzip": ("POST", "/", {"Content-Encoding": "gzip"}, b"", 400),
    "CSV": ("POST", "/", {}, b"id,event,timestamp\na,b,1\n", 400),
    "UTF-16": ("POST", "/", {}, EVENT.encode("utf-16"), 400),
    "unknown zone": ("POST", "/?time_zone=Mars", {}, SAMPLE, 400),
    "unknown parameter": ("POST", "/?x=1", {}, SAMPLE, 400),
    "zone and offset": ("POST", "/?time_zone=UTC&utc_offset=%2B01:00", {}, SAMPLE, 400),
    "other path": ("POST", "/x", {}, SAMPLE, 404),
    "other path, GET": ("GET", "/../server.py", {}, b"", 404),
    "too large": ("POST", "/", {}, b" " * (LIMIT + 1), 413),
    "gzip bomb": ("POST", "/", {"Content-Encoding": "gzip"}, gzip.compress(b" " * 10**7), 413),
    "zstd bomb": ("POST", "/", {"Content-Encoding": "zstd"}, zstandard.compress(b" " * 10**7), 413),
    "unknown encoding": ("POST", "/", {"Content-Encoding": "br"}, SAMPLE, 415),
}


@pytest.mark.parametrize(("method", "path", "headers", "body", "status"), PROBLEMS.values(), ids=PROBLEMS)
def test_problems(server: Server, method: str, path: str, headers: dict[str, str], body: bytes, status: int) -> None:
    answer = requests.request(method, server.address.rstrip("/") + path, data=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert Answer(status, dict(answer.headers), answer.content).problem["detail"]


def test_a_chunked_body_that_is_too_large(server: Server) -> None:
    """It is refused although its end does not come."""
    with server.connect() as connection:
        connection.sendall(chunked(b" " * (LIMIT + 10_000), 10_000))
        assert receive(connection).problem["status"] == 413


def test_refused_by_the_head_alone(server: Server) -> None:
    """The body is not waited for."""
    for request, status in (
        (head(10**9), 413),
        (head(1000, path="/x"), 404),
        (head(1000, method="PUT"), 405),
        (head(1000, Content_Encoding="br"), 415),
        (head(1000, path="/?time_zone=Mars"), 400),
    ):
        assert exchange(server, request).problem["status"] == status


def test_a_form_gets_the_command_to_use_instead(server: Server) -> None:
    curl = ["curl", "-s", "-F", f"file=@{ROOT / 'examples/events.json'}", server.address]
    problem = json.loads(subprocess.run(curl, capture_output=True, check=True).stdout)
    assert problem["status"] == 415
    (command,) = re.findall("curl --data-binary @\\S+ http://\\S+", problem["detail"])
    command = command.replace("FILE", str(ROOT / "examples/events.json"))
    assert subprocess.run(["bash", "-c", f"{command} -s"], capture_output=True, check=True).stdout.decode() == REPORT


def test_first_ten_rejects(server: Server) -> None:
    problem = server.post(LINE + b"x\n" * 25).problem
    assert (problem["read"], problem["rejected"], problem["complete"]) == (26, 25, True)
    assert [reject["line"] for reject in problem["rejects"]] == list(range(2, 12))
    assert set(problem["rejects"][0]) == {"line", "index", "offset", "reason", "raw"}


def test_options_of_a_request(server: Server) -> None:
    event = LINE.replace(b"video_25", b"impressions")
    path = "/?time_zone=Asia/Kolkata&impressions_factor=2&deduplicate=true&rejects=skip"
    answer = server.post(event + b"x\n" + event, path)
    assert answer.body.decode() == HEADER + "2021-04-03T01:00:00+05:30,1,0,0,0,0,0,2\n"
    assert json.loads(answer.headers["X-Report-Summary"]) == {
        "read": 3, "counted": 1, "rejected": 1, "hours": 1, "duplicate": 1,
    }  # fmt: skip
    assert server.post(event, "/?utc_offset=%2B05:30").body.decode().startswith(f"{HEADER}2021-04-03T01:00:00+05:30")


def test_expect_continue(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(head(len(SAMPLE), Expect="100-continue"))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(SAMPLE)
        assert receive(connection).body.decode() == REPORT


def test_a_connection_is_renewed_now_and_then(server: Server) -> None:
    """So that clients do not stay with one process while another has nothing to do."""
    with requests.Session() as session:
        answers = [session.post(server.address, SAMPLE) for _ in range(50)]
    assert {answer.text for answer in answers} == {REPORT}
    assert sum(answer.headers["Connection"] == "close" for answer in answers) == 2


def test_half_closed_and_gone(server: Server) -> None:
    """A client that has said all may close its side; one that is gone harms nobody."""
    with server.connect() as connection:
        connection.sendall(head(len(SAMPLE)) + SAMPLE)
        connection.shutdown(socket.SHUT_WR)
        assert receive(connection).body.decode() == REPORT
    for data in (head(1000) + b"[", head(len(SAMPLE)) + SAMPLE, b"POST"):
        with server.connect() as connection:
            connection.sendall(data)
    assert server.post().status == 200


def test_pipelined(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall((head(len(SAMPLE)) + SAMPLE) * 3 + head(0, "GET", "/healthz", Connection="close"))
        with connection.makefile("rb") as stream:
            statuses = re.findall(rb"HTTP/1.1 (\d+)", stream.read())
    assert statuses == [b"200"] * 4


def test_page_and_files(server: Server) -> None:
    page = requests.get(server.address)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert requests.head(server.address).headers["Content-Length"] == str(len(page.content))
    types = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "json": "application/json"}
    for name in ("page/app.js", "page/chart.js", "page/report.js", "page/style.css", "openapi.json"):
        answer = requests.get(server.address + name.removeprefix("page/"))
        assert answer.content == (ROOT / "pipeline/serving" / name).read_bytes()
        assert answer.headers["Content-Type"] == types[name.rpartition(".")[2]]


@pytest.mark.parametrize("path", ["", "app.js", "style.css", "openapi.json"])
def test_files_are_sent_once(server: Server, path: str) -> None:
    """A browser that has a file asks whether it has changed."""
    tag = requests.get(server.address + path).headers["ETag"]
    for known in (tag, f'"x", W/{tag}', "*"):
        answer = requests.get(server.address + path, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag)
    assert requests.get(server.address + path, headers={"If-None-Match": '"x"'}).status_code == 200


CROSS_SITE = {
    "other host": {"Host": "attacker.example"},
    "other host with a port": {"Host": "attacker.example:8080"},
    "name that begins alike": {"Host": "localhost.attacker.example"},
    "cross-site": {"Sec-Fetch-Site": "cross-site"},
    "same site, other port": {"Sec-Fetch-Site": "same-site"},
    "other origin": {"Origin": "https://attacker.example"},
    "file": {"Origin": "null"},
}


@pytest.mark.parametrize("headers", CROSS_SITE.values(), ids=CROSS_SITE)
def test_other_sites_are_refused(server: Server, headers: dict[str, str]) -> None:
    """Without a token a page of another site may not have reports made, nor read what is here by DNS rebinding."""
    assert requests.post(server.address, SAMPLE, headers=headers).status_code in (403, 421)
    for path in ("", "metrics"):
        status = requests.get(server.address + path, headers=headers).status_code
        assert status == (421 if "Host" in headers else 200)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "127.1.2.3:9", "[::1]:80", "a.localhost"])
def test_names_of_this_machine(server: Server, host: str) -> None:
    for headers in ({}, {"Origin": f"http://{host}"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
        assert server.post(Host=host, **headers).status == 200


def test_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef0123456789abcdef\n")
    (tmp_path / "token").chmod(0o600)
    with running(tmp_path / "tmp", "--processes", "1", "--token_file", str(tmp_path / "token")) as server:
        for wrong in ("", "Bearer", "Bearer x", "Basic 0123456789abcdef0123456789abcdef"):
            answer = exchange(server, head(10**6, Authorization=wrong))  # refused before the body
            assert answer.problem["status"] == 401
            assert "Bearer" in {name.lower(): value for name, value in answer.headers.items()}["www-authenticate"]
        assert server.get("/metrics").status == 401
        right = {"Authorization": "Bearer 0123456789abcdef0123456789abcdef", "Host": "report.example"}
        assert server.post(**right, Sec_Fetch_Site="cross-site").body.decode() == REPORT
        assert server.get("/metrics", **right).status == 200
        assert server.get("/healthz").status == server.get("/").status == 200
        assert "WARNING" not in server.log


def test_health(server: Server) -> None:
    assert server.get("/healthz").body == b"ok\n"
    assert requests.head(f"{server.address}healthz").status_code == 200


def test_metrics_are_those_of_all_processes(server: Server) -> None:
    before = metrics(server)
    for _ in range(5):
        server.post()
    server.post(b"[")
    names = {
        'hourly_report_requests_total{kind="report",status="200"}': 5,
        'hourly_report_requests_total{kind="report",status="400"}': 1,
        'hourly_report_request_seconds_count{kind="report"}': 6,
        "hourly_report_events_total": 30,
        "hourly_report_body_bytes_total": 5 * len(SAMPLE) + 1,
    }
    await_true(lambda: {name: metrics(server).get(name, 0) - before.get(name, 0) for name in names} == names)


def test_log(server: Server) -> None:
    """One line a request, with the client's address, or the one that a proxy on this machine names."""
    server.post()
    server.post(b"[", X_Forwarded_For="10.9.9.9, 192.0.2.7")
    server.post(b"[]", X_Forwarded_For="x\\x1b[31m")
    server.post(b"no", Content_Encoding="gzip", X_Forwarded_For="192.0.2.8")
    prefix = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ "
    await_true(lambda: "192.0.2.7 POST report 400" in server.log)
    for line in (
        rf"127\.0\.0\.1 POST report 200 bytes={len(SAMPLE)} events=6 ms=\d+",
        r"192\.0\.2\.7 POST report 400 bytes=1 events=0 ms=\d+",
        r"127\.0\.0\.1 POST report 200 bytes=2 events=0 ms=\d+",
        r"192\.0\.2\.8 POST report 400 bytes=2 events=0 ms=\d+",
    ):
        await_true(lambda line=line: re.search(f"^{prefix}{line}$", server.log, re.MULTILINE))  # type: ignore[misc]
    assert "c8e3" not in server.log


def test_json_log(tmp_path: Path) -> None:
    with running(tmp_path / "tmp", "--processes", "1", "--log_format", "json") as server:
        server.post()
        server.post(path=SKIP)
        assert server.stop() == 0
    lines = [json.loads(line) for line in server.log.splitlines()]
    (line, _) = [line for line in lines if line.get("kind") == "report"]
    assert (line["level"], line["client"], line["method"], line["status"]) == ("info", "127.0.0.1", "POST", 200)
    assert (line["bytes"], line["events"]) == (len(SAMPLE), 6)
    assert line["ms"] > 0
    assert all(line["time"] for line in lines)
    assert any("listening on http://" in line.get("message", "") for line in lines)


def test_unix_socket(tmp_path: Path) -> None:
    """What nginx on the same machine speaks to; only this user and group may."""
    path = tmp_path / "report.sock"
    with running(tmp_path / "tmp", "--processes", "1", "--unix_socket", str(path)) as server:
        assert f"listening on unix:{path}" in server.log
        curl = ["curl", "-s", "--unix-socket", str(path), "--data-binary", "@-", "http://localhost/"]
        assert subprocess.run(curl, input=SAMPLE, capture_output=True, check=True).stdout.decode() == REPORT
        assert path.stat().st_mode & 0o777 == 0o660
        assert server.stop() == 0
    assert not path.exists()


def test_a_wait_for_a_workspace_ends(tmp_path: Path) -> None:
    """503 with Retry-After, and not before the time is over; the page is there all the same."""
    arguments = ("--processes", "1", "--concurrency", "1", "--queue_timeout", "1")
    with running(tmp_path / "tmp", *arguments) as server:
        slow = (EVENT + "\n").encode() + b"x\n" * 900_000
        waiting = None
        with server.connect() as busy:
            busy.sendall(head(len(slow), path=SKIP) + slow)
            await_true(lambda: metrics(server)["hourly_report_workspaces_busy"] == 1)
            while waiting is None or waiting.status == 200:
                start = time.monotonic()
                waiting = server.post()
            assert waiting.problem["status"] == 503
            assert int(waiting.headers["Retry-After"]) > 0
            assert time.monotonic() - start >= 1
            assert server.get().status == 200
            assert receive(busy).status == 200
        assert server.post().status == 200
        await_true(lambda: metrics(server)["hourly_report_requests_waiting"] == 0)
