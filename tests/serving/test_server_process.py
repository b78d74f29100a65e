"""The server as its users run it: real processes, raw sockets, signals, a full disk."""

import contextlib
import gzip
import json
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.process_support import SKIP, SLOW, files, metrics
from tests.serving_support import (
    EVENT,
    REPORT,
    ROOT,
    SAMPLE,
    Server,
    await_true,
    head,
    receive,
    running,
)


def test_report(server: Server) -> None:
    address = f"http://127.0.0.1:{server.port}/"
    with urllib.request.urlopen(urllib.request.Request(address, SAMPLE)) as answer:
        assert answer.read().decode() == REPORT
    with urllib.request.urlopen(address) as answer:
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


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
    assert statuses.count(200) >= 34  # slots and queue of one process, which may get all that the other has no time for
    assert server.post().status == 200


def test_full_queue(tmp_path: Path) -> None:
    """With all slots busy and nobody allowed to wait, the answer is 503; the page is there all the same."""
    with running(tmp_path / "tmp", "--processes", "1", "--slots", "1", "--queue", "0") as server:
        with ThreadPoolExecutor(1) as pool:
            busy = pool.submit(server.post, SLOW, SKIP)
            await_true(lambda: server.is_running_large)
            statuses = set()
            while not busy.done():
                statuses.add(server.post().status)
        assert busy.result().status == 200
        assert statuses <= {200, 503}
        assert 503 in statuses


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
        pytest.skip("a file system cannot be mounted here; test_slots.py simulates the full disk")
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


def test_disk_that_fills_up(small_disk: Path) -> None:
    """No worker ends of it: the metrics have their place on the disk ahead."""
    paths = ["/", "/healthz", "/metrics", "/app.js", "/nothing"]
    with running(small_disk, "--processes", "1") as server:
        await_true(lambda: metrics(server)["hourly_report_slots"] == 2)
        workers = server.workers
        with contextlib.suppress(OSError), open(small_disk / "rest", "wb", buffering=0) as rest:
            while True:
                rest.write(bytes(4096))
        assert [server.get(path).status for path in paths] == [200, 200, 200, 200, 404]
        assert server.post().problem["status"] == 507
        assert server.post(b"[").problem["status"] == 507
        assert metrics(server)['hourly_report_requests_total{kind="report",status="507"}'] == 2
        (small_disk / "rest").unlink()
        assert server.post().status == 200
        assert server.workers == workers


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
