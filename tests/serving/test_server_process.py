"""The server as its users run it: real processes, raw sockets, signals, a full disk."""

import contextlib
import fcntl
import gzip
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.serving.http import REQUESTS_A_CONNECTION
from tests.serving_support import (
    EVENT,
    REPORT,
    ROOT,
    SAMPLE,
    Server,
    assert_no_internals,
    await_true,
    head,
    receive,
    running,
)

LIMIT = 400_000
LARGE = (EVENT + "\n").encode() * 2_000_000  # some tenths of a second of work


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for the tests that leave it as it was. Clients have two seconds."""
    folder = tmp_path_factory.mktemp("shared") / "tmp"
    with running(folder, "--max_body_bytes", str(LIMIT), "--timeout", "2", "--processes", "2") as server:
        yield server


def test_report(server: Server) -> None:
    address = f"http://127.0.0.1:{server.port}/"
    with urllib.request.urlopen(urllib.request.Request(address, SAMPLE)) as answer:
        assert answer.read().decode() == REPORT
    with urllib.request.urlopen(address) as answer:
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


def test_access_log(server: Server) -> None:
    server.post()
    server.post(b"[")
    await_true(lambda: "POST report 400" in server.log)
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.search(rf"^{time} POST report 200 bytes={len(SAMPLE)} events=6 ms=\d+$", server.log, re.MULTILINE)
    assert re.search(rf"^{time} POST report 400 bytes=1 events=0 ms=\d+$", server.log, re.MULTILINE)
    assert "c8e3" not in server.log


def test_health_and_metrics(server: Server) -> None:
    """Metrics are those of all processes, whichever answers."""
    assert server.get("/healthz").body == b"ok\n"
    await_true(lambda: metrics(server)["hourly_report_slots"] == 4)
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
    await_true(lambda: metrics(server)["hourly_report_slots_busy"] == 0)


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


def test_json_log(tmp_path: Path) -> None:
    with running(tmp_path / "tmp", "--processes", "1", "--log_format", "json") as server:
        assert server.get("/healthz").status == 200
        assert server.post().status == 200
        (worker,) = server.workers
        os.kill(worker, signal.SIGKILL)
        await_true(lambda: "starting another" in server.log)
        assert server.post().status == 200
        await_true(lambda: server.log.count('"report"') == 2)
        lines = [json.loads(line) for line in server.log.splitlines()]
    assert {(line["level"], line.get("kind"), line.get("status")) for line in lines} == {
        ("info", None, None),
        ("warning", None, None),
        ("info", "health", 200),
        ("info", "report", 200),
    }
    (line, _) = [line for line in lines if line.get("kind") == "report"]
    assert (line["method"], line["bytes"], line["events"]) == ("POST", len(SAMPLE), 6)
    assert line["ms"] > 0


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[k : k + size] for k in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + framed


def test_chunked(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(chunked(SAMPLE, 100) + b"0\r\n\r\n")
        assert receive(connection).body.decode() == REPORT
        connection.sendall(head(len(SAMPLE)) + SAMPLE)  # the connection is kept
        assert receive(connection).body.decode() == REPORT


def test_a_connection_is_kept_for_so_many_requests(server: Server) -> None:
    """So that many clients do not stay with one process while the other has nothing to do."""
    with server.connect() as connection:
        answers = []
        for _ in range(REQUESTS_A_CONNECTION):
            connection.sendall(head(len(SAMPLE)) + SAMPLE)
            answers.append(receive(connection))
        assert [answer.status for answer in answers] == [200] * REQUESTS_A_CONNECTION
        assert [answer.headers.get("Connection") for answer in answers[-2:]] == [None, "close"]
        assert connection.recv(1) == b""


def test_small_chunks_do_not_count_their_frames(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(chunked(SAMPLE + b" " * (LIMIT - len(SAMPLE)), 3) + b"0\r\n\r\n")
        assert receive(connection).body.decode() == REPORT


def test_endless_chunks(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(chunked(b" " * (LIMIT + 1), 10_000))  # and no end
        assert receive(connection).problem["status"] == 413


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
EARLY = {
    "too large": (head(10**9), 413),
    "too large, waiting to go on": (head(10**9, Expect="100-continue"), 413),
    "unknown encoding": (head(1000, Content_Encoding="br"), 415),
    "unknown path": (head(1000, path="/x"), 404),
    "bad option": (head(1000, path="/?time_zone=Mars"), 400),
    "unknown option": (head(1000, path="/?x", Expect="100-continue"), 400),
    "unknown method": (head(1000, method="PUT"), 405),
    "bad length": (head("x"), 400),
    "two lengths": (head(5, Content_Length="6"), 400),
    "no HTTP": (b"hello\r\n\r\n", 400),
    "bad header": (b"GET / HTTP/1.1\r\nno header\r\n\r\n", 400),
    "long head": (b"GET / HTTP/1.1\r\nX: " + b"x" * 300_000 + b"\r\n\r\n", 431),
    "transfer encoding": (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    "bad chunk": (CHUNKED + b"xyz\r\n", 400),
    "many lines": (b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 2000 + b"\r\n", 431),
    "folded lines": (b"GET / HTTP/1.1\r\na:\r\n" + b" \r\n" * 2000 + b"\r\n", 431),
    "length of 5,000 digits": (head("9" * 5000), 400),
    "target that is no address": (b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "blanks": (b"GET / HTTP/1.1\r\na:" + b" " * 30_000 + b"x\r\n\r\n", 400),
    "folded blanks": (b"GET / HTTP/1.1\r\na:\r\n" + (b" " * 60 + b"\r\n") * 190 + b"\r\n", 400),
    "digits of a port": (b"GET a://" + b"1" * 30_000 + b" x\r\n\r\n", 400),
    "blank lines": (b"\r\n\r\n" * 10_000, 400),
    "no length": (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "no length, old": (b"POST / HTTP/1.0\r\n\r\n[]", 400),
    "chunks in HTTP/1.0": (CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"2\r\n[]\r\n0\r\n\r\n", 400),
    "kept chunks in HTTP/1.0": (
        CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0\r\nConnection: keep-alive") + b"2\r\n[]\r\n0\r\n\r\n",
        400,
    ),
    "chunks and a length": (CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n"), 400),
    "long size of a chunk": (CHUNKED + b"0" * 5000, 400),
    "long extension": (CHUNKED + b"1;" + b"x" * 5000, 400),
    "long trailer": (CHUNKED + b"0\r\n" + b"x: y\r\n" * 5000, 400),
    "more frame than body": (CHUNKED + (b"1;" + b"x" * 500 + b"\r\n \r\n") * 1000, 400),
}


@pytest.mark.parametrize(("data", "status"), EARLY.values(), ids=EARLY)
def test_refused_before_the_body_comes(server: Server, data: bytes, status: int) -> None:
    with server.connect() as connection:
        connection.sendall(data)
        assert receive(connection).problem["status"] == status
        with contextlib.suppress(ConnectionResetError):  # what was sent on, nobody has read
            assert connection.recv(1) == b""


@pytest.mark.parametrize("data", [head(1000) + b"[", CHUNKED + b"5\r\n[", b"POST / HTTP/1.1\r\nHo"])
def test_a_request_that_breaks_off(server: Server, data: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        assert receive(connection).problem["status"] == 400


@pytest.mark.parametrize("data", [head(0, Expect="100-continue"), head(0, method="GET", Expect="100-continue")])
def test_nothing_to_continue(server: Server, data: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(data)
        assert receive(connection).status == 200
        connection.sendall(head(len(SAMPLE)) + SAMPLE)  # the connection is kept
        assert receive(connection).body.decode() == REPORT


def test_expect_continue(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(head(len(SAMPLE), Expect="100-continue"))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(SAMPLE)
        assert receive(connection).body.decode() == REPORT


SLOW = {
    "silent": (b"", b""),
    "slow head": (b"POST / HTTP/1.1\r\nX: ", b"x"),
    "slow body": (head(1000), b" "),
    "silent body": (head(1000) + b" ", b""),
}


@pytest.mark.parametrize(("first", "then"), SLOW.values(), ids=SLOW)
def test_slow_clients_are_cut_off(server: Server, first: bytes, then: bytes) -> None:
    """Meanwhile others are served: a slow client holds no slot."""
    with server.connect() as connection, contextlib.ExitStack() as others:
        crowd = [others.enter_context(server.connect()) for _ in range(50)]
        for other in [connection, *crowd]:
            other.sendall(first)
        assert server.post().status == 200
        connection.settimeout(0.1)
        answer = None
        while answer is None:
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(1000)
            if answer is None:
                connection.sendall(then)
    assert re.match(rb"HTTP/1.[01] 408", answer) if first else answer == b""


def test_half_closed(server: Server) -> None:
    """A client that has said all may close its side."""
    with server.connect() as connection:
        connection.sendall(head(len(SAMPLE)) + SAMPLE)
        connection.shutdown(socket.SHUT_WR)
        assert receive(connection).body.decode() == REPORT


def test_gone_in_the_middle(server: Server) -> None:
    for data in (head(1000) + b"[", head(len(SAMPLE)) + SAMPLE, b"POST"):
        with server.connect() as connection:
            connection.sendall(data)
    assert server.post().status == 200


def test_pipelined(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall((head(len(SAMPLE)) + SAMPLE) * 3 + head(0, method="GET", path="/openapi.json"))
        with connection.makefile("rb") as stream:
            statuses = []
            while len(statuses) < 4:
                line = stream.readline()
                assert line
                statuses += re.findall(rb"HTTP/1.1 (\d+)", line)
    assert statuses == [b"200"] * 4


def test_hundred_clients_at_once(server: Server) -> None:
    """Each gets its own report, or is told to come again."""

    def post(number: int) -> int:
        answer = server.post((EVENT + "\n").encode() * number)
        if answer.status == 503:
            assert int(answer.headers["Retry-After"]) > 0
        else:
            assert json.loads(answer.headers["X-Report-Summary"])["counted"] == number
        return answer.status

    with ThreadPoolExecutor(100) as pool:
        statuses = list(pool.map(post, range(1, 101)))
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 50
    assert server.post().status == 200


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name in ("body", "report.csv")]


def test_full_queue(tmp_path: Path) -> None:
    """With all slots busy and nobody allowed to wait, the answer is 503; the page is there all the same."""
    with running(tmp_path / "tmp", "--processes", "1", "--slots", "1", "--queue", "0") as server:
        with ThreadPoolExecutor(1) as pool:
            busy = pool.submit(server.post, LARGE)
            await_true(lambda: server.is_running_large)
            statuses = set()
            while not busy.done():
                statuses.add(server.post().status)
        assert busy.result().status == 200
        assert statuses <= {200, 503}
        assert 503 in statuses


def test_sigterm_finishes_what_runs(tmp_path: Path) -> None:
    with running(tmp_path / "tmp", "--processes", "2") as server, ThreadPoolExecutor(1) as pool:
        idle = server.connect()
        answer = pool.submit(server.post, LARGE)
        await_true(lambda: server.is_running_large)
        assert server.stop() == 0
        assert answer.result().status == 200
        assert json.loads(answer.result().headers["X-Report-Summary"])["counted"] == 2_000_000
        assert idle.recv(1) == b""
        with pytest.raises(ConnectionError):
            server.connect()
        assert list(server.temporary.iterdir()) == []
        assert_no_internals(server.log.replace("listening", ""))


def test_interrupt(tmp_path: Path) -> None:
    """As from a terminal, where all processes get the signal."""
    with running(tmp_path / "tmp", "--processes", "1") as server:
        for worker in server.workers:
            os.kill(worker, signal.SIGINT)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 0
        assert "Traceback" not in server.log


def test_grace_ends(tmp_path: Path) -> None:
    with running(tmp_path / "tmp", "--processes", "1", "--grace", "0") as server:
        with server.connect() as connection:
            connection.sendall(head(len(LARGE)) + LARGE)
            await_true(lambda: server.is_running_large)
            assert server.stop() == 0
        assert list(server.temporary.iterdir()) == []


def test_killed(tmp_path: Path) -> None:
    """The workers notice, and end; what they leave, the next start removes."""
    with running(tmp_path / "tmp", "--processes", "2") as server:
        with server.connect() as connection:
            connection.sendall(head(len(LARGE)) + LARGE)
            await_true(lambda: server.is_running_large)
            workers = server.workers
            server.process.kill()
            assert receive(connection).status == 200  # a worker finishes what runs, without a parent too
        await_true(lambda: not any(is_alive(worker) for worker in workers))
        (left,) = server.temporary.iterdir()
    with running(tmp_path / "tmp", "--processes", "1") as server:
        assert not left.exists()
        assert server.post().status == 200


def test_all_killed(tmp_path: Path) -> None:
    with running(tmp_path / "tmp", "--processes", "1") as server:
        with server.connect() as connection:
            connection.sendall(head(len(LARGE)) + LARGE)
            await_true(lambda: server.is_running_large)
            (worker,) = server.workers
            server.process.kill()
            os.kill(worker, signal.SIGKILL)
        await_true(lambda: not is_alive(worker))
        assert "body" in files(server.temporary)
    with running(tmp_path / "tmp", "--processes", "1") as server:
        assert len(list(server.temporary.iterdir())) == 1
        await_true(lambda: files(server.temporary) == [])  # but for a slot that is rehearsed


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_that_starts_leaves_connections_to_others(tmp_path: Path) -> None:
    with running(tmp_path / "tmp", "--processes", "2") as server:
        for _ in range(3):
            await_true(lambda: metrics(server)["hourly_report_slots"] == 4)
            os.kill(server.workers[0], signal.SIGKILL)
            await_true(lambda: len(server.workers) < 2)
            while len(server.workers) < 2 or metrics(server)["hourly_report_slots"] < 4:
                assert server.get("/healthz").status == 200


def test_two_servers_leave_each_other_alone(tmp_path: Path) -> None:
    with running(tmp_path / "tmp", "--processes", "1") as one, running(tmp_path / "tmp", "--processes", "1") as two:
        assert (one.post().status, two.post().status) == (200, 200)
        assert one.stop() == 0
        assert two.post().status == 200


def test_a_cleaned_temporary_folder(tmp_path: Path) -> None:
    """systemd's cleaner spares a folder with a lock on it; others do not."""
    with running(tmp_path / "tmp", "--processes", "1") as server:
        large = (EVENT + "\n").encode() * 10_000
        for _ in range(2):
            (folder,) = server.temporary.iterdir()
            with open_folder(folder) as descriptor, pytest.raises(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
            assert server.post(large).status == 200
            with server.connect() as connection:
                connection.sendall(chunked(large, 1000) + b"0\r\n\r\n")
                assert receive(connection).status == 200
        assert server.stop() == 0
        assert list(server.temporary.iterdir()) == []


@contextlib.contextmanager
def open_folder(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_a_crashed_worker_is_replaced(tmp_path: Path) -> None:
    with running(tmp_path / "tmp", "--processes", "1") as server:
        (worker,) = server.workers
        os.kill(worker, signal.SIGKILL)
        await_true(lambda: "starting another" in server.log)
        assert server.post().status == 200
        assert server.workers != [worker]
        await_true(lambda: len(list(server.temporary.glob("*/*/slot-0"))) == 1)


def test_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    with running(tmp_path / "tmp", "--processes", "1", "--token_file", str(tmp_path / "token")) as server:
        with server.connect() as connection:
            connection.sendall(head(10**6))  # refused before the body
            assert receive(connection).problem["status"] == 401
        assert server.post(Authorization="Bearer secret").status == 200
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/") as answer:
            assert answer.status == 200


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "tmp"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here; test_server.py simulates the full disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def test_full_disk(small_disk: Path) -> None:
    body = (EVENT + "\n").encode() * 100_000
    packed = gzip.compress(body)
    with running(small_disk, "--processes", "1") as server:
        for data in (head(len(body)) + body, head(len(packed), Content_Encoding="gzip") + packed):
            with server.connect() as connection:
                sender = threading.Thread(target=send, args=(connection, data))
                sender.start()
                assert receive(connection).problem["status"] == 507
                sender.join()
            await_true(lambda: files(small_disk) == [])
        assert server.post(body[: len(body) // 2]).status == 200  # half of the disk, and not copied
        assert server.stop() == 0
        assert list(small_disk.iterdir()) == []


def send(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):  # the server need not read it all
        connection.sendall(data)


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "server.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "arguments", [["--port", "x"], ["--host", "256.0.0.1"], ["--runner", "X"], ["--runer=X"], ["--host", "0.0.0.0"]]
)
def test_wrong_usage(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "error:" in done.stderr
    assert "listening" not in done.stderr


def test_port_in_use(server: Server) -> None:
    done = run("--port", str(server.port))
    assert done.returncode == 2
    assert "in use" in done.stderr
