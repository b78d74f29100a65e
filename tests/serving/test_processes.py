"""The processes of a server: crowds of clients, ends of all kinds, a full disk, few open files, a cleaned folder."""

import contextlib
import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.processes import await_true, is_alive
from tests.serving_support import (
    EVENT,
    LARGE,
    SAMPLE,
    SKIP,
    SLOW,
    Answer,
    Server,
    assert_no_internals,
    chunked,
    files,
    head,
    metrics,
    receive,
    running,
)
from tests.support import ROOT


def is_busy(server: Server) -> bool:
    """Whether a report is being made."""
    return metrics(server)["hourly_report_workspaces_busy"] > 0


def all_serve(server: Server, workspaces: int) -> bool:
    """Whether all workers are ready, which is seen in what they tell together."""
    with contextlib.suppress(ConnectionError, IndexError):
        return metrics(server)["hourly_report_workspaces"] == workspaces
    return False


def test_hundred_clients(server: Server) -> None:
    """Each gets its own reports."""

    def post(number: int) -> list[int]:
        answers = [server.post((EVENT + "\n").encode() * number) for _ in range(10)]
        return [json.loads(answer.headers["X-Report-Summary"])["counted"] for answer in answers]

    with ThreadPoolExecutor(100) as pool:
        for number, counted in enumerate(pool.map(post, range(1, 101)), 1):
            assert counted == [number] * 10


def test_thousand_clients_at_once(server: Server) -> None:
    with contextlib.ExitStack() as crowd:
        clients = [crowd.enter_context(server.connect()) for _ in range(1000)]
        with ThreadPoolExecutor(50) as pool:
            list(pool.map(lambda client: client.sendall(head(len(SAMPLE)) + SAMPLE), clients))
            assert Counter(pool.map(lambda client: receive(client).status, clients)) == {200: 1000}


def test_clients_wait_while_no_worker_accepts(tmp_path: Path) -> None:
    with running(tmp_path / "tmp", "--processes", "1") as server, contextlib.ExitStack() as crowd:
        await_true(lambda: all_serve(server, 2))
        (worker,) = server.workers
        os.kill(worker, signal.SIGSTOP)
        address = ("127.0.0.1", server.port)
        clients = [crowd.enter_context(socket.create_connection(address, timeout=20)) for _ in range(500)]
        os.kill(worker, signal.SIGCONT)
        for client in clients:
            client.sendall(head(0, "GET", "/healthz"))
            assert receive(client).status == 200


@pytest.mark.parametrize("limit", [256, 1024])
def test_few_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """More clients than there are files for wait to be connected; all are served."""
    monkeypatch.setattr(Server, "wrapper", ("prlimit", f"--nofile={limit}:{limit}"))
    with running(tmp_path / "tmp", "--processes", "2") as server, ThreadPoolExecutor(300) as pool:
        statuses = Counter(pool.map(lambda _: server.post(LARGE).status, range(600)))
        assert statuses == {200: 600}
        assert "Traceback" not in server.log


def test_sigterm_finishes_reports_and_uploads(tmp_path: Path) -> None:
    """Two uploads under way, by length and in chunks, a report in the making, an idle connection."""
    with running(tmp_path / "tmp", "--processes", "2") as server, ThreadPoolExecutor(1) as pool:
        await_true(lambda: all_serve(server, 4))
        idle, one, other = (server.connect() for _ in range(3))
        half = len(SAMPLE) // 2
        one.sendall(head(len(SAMPLE)) + SAMPLE[:half])
        other.sendall(chunked(SAMPLE[:half], 50))
        report = pool.submit(server.post, SLOW, SKIP)
        await_true(lambda: is_busy(server))
        server.process.send_signal(signal.SIGTERM)
        await_true(lambda: refuses(server))
        one.sendall(SAMPLE[half:])
        other.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(SAMPLE) - half, SAMPLE[half:]))
        for client in (one, other):
            assert json.loads(receive(client).headers["X-Report-Summary"])["counted"] == 6
        assert json.loads(report.result().headers["X-Report-Summary"])["rejected"] == 200_000
        assert server.process.wait(60) == 0
        assert idle.recv(1) == b""
        assert list(server.temporary.iterdir()) == []
        assert_no_internals(server.log.replace("listening", ""))


def refuses(server: Server) -> bool:
    """Whether new connections are refused."""
    try:
        server.connect().close()
    except ConnectionError:
        return True
    return False


@pytest.mark.usefixtures("foreground")
def test_interrupt(tmp_path: Path) -> None:
    """As from a terminal, where all processes get the signal."""
    with running(tmp_path / "tmp", "--processes", "1") as server:
        workers = server.workers
        server.process.send_signal(signal.SIGINT)
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGINT)
        assert server.process.wait(60) == 0
        assert "Traceback" not in server.log
        assert list(server.temporary.iterdir()) == []


def test_the_grace_period_ends(tmp_path: Path) -> None:
    with running(tmp_path / "tmp", "--processes", "1", "--shutdown_timeout", "1") as server:
        with server.connect() as connection:
            connection.sendall(head(1000) + b"[")  # and no end
            assert server.stop() == 0
        assert list(server.temporary.iterdir()) == []


def test_the_parent_is_killed(tmp_path: Path) -> None:
    """The workers notice, finish what runs, and end."""
    with running(tmp_path / "tmp", "--processes", "2") as server:
        await_true(lambda: all_serve(server, 4))
        workers = server.workers
        with server.connect() as connection:
            connection.sendall(head(len(SLOW), path=SKIP) + SLOW)
            await_true(lambda: is_busy(server))
            server.process.kill()
            assert receive(connection).status == 200
        await_true(lambda: not any(map(is_alive, workers)))
    with running(tmp_path / "tmp", "--processes", "1") as server:
        assert server.post().status == 200
        assert server.stop() == 0
        assert list(server.temporary.iterdir()) == []


def test_all_are_killed(tmp_path: Path) -> None:
    """What they leave, the next start removes."""
    with running(tmp_path / "tmp", "--processes", "1") as server:
        with server.connect() as connection:
            connection.sendall(head(len(SLOW), path=SKIP) + SLOW)
            await_true(lambda: is_busy(server))
            (worker,) = server.workers
            server.process.kill()
            os.kill(worker, signal.SIGKILL)
        await_true(lambda: not is_alive(worker))
        (left,) = server.temporary.iterdir()
    with running(tmp_path / "tmp", "--processes", "1") as server:
        assert server.post().status == 200
        assert not left.exists()


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    """Others serve meanwhile; nothing of it is left. Its answers stay counted, its workspaces do not."""
    with running(tmp_path / "tmp", "--processes", "2") as server:
        await_true(lambda: all_serve(server, 4))
        answered = [server.post().status for _ in range(10)]
        for _ in range(3):
            killed = server.workers[0]
            os.kill(killed, signal.SIGKILL)
            await_true(lambda killed=killed: not is_alive(killed))  # type: ignore[misc]
            answered += [server.post().status for _ in range(10)]
            await_true(lambda: all_serve(server, 4))
        assert answered == [200] * 40
        assert len(server.workers) == 2
        assert metrics(server)['hourly_report_requests_total{kind="report",status="200"}'] == 40


def test_two_servers_leave_each_other_alone(tmp_path: Path) -> None:
    with running(tmp_path / "tmp", "--processes", "1") as one, running(tmp_path / "tmp", "--processes", "1") as two:
        assert (one.post().status, two.post().status) == (200, 200)
        assert one.stop() == 0
        assert two.post().status == 200


def test_a_cleaned_temporary_folder(tmp_path: Path) -> None:
    """Reports are made all the same, and a killed worker is replaced."""
    with running(tmp_path / "tmp", "--processes", "1") as server:
        await_true(lambda: all_serve(server, 2))
        for _ in range(2):
            (folder,) = server.temporary.iterdir()
            shutil.rmtree(folder)
            assert server.post(LARGE).status == 200
            with server.connect() as connection:
                connection.sendall(chunked(LARGE, 1000) + b"0\r\n\r\n")
                assert receive(connection).status == 200
        (worker,) = server.workers
        os.kill(worker, signal.SIGKILL)
        await_true(lambda: server.workers not in ([], [worker]))
        assert server.post(LARGE).status == 200
        assert server.stop() == 0
        assert list(server.temporary.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "tmp"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here; test_workspaces.py simulates the full disk")
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


def test_a_disk_that_fills_up(small_disk: Path) -> None:
    """No worker ends of it: the metrics have their place on the disk ahead. One that is killed is replaced later."""
    paths = ["/", "/healthz", "/metrics", "/app.js", "/nothing"]
    with running(small_disk, "--processes", "2") as server:
        await_true(lambda: all_serve(server, 4))
        workers = server.workers
        with contextlib.suppress(OSError), open(small_disk / "rest", "wb", buffering=0) as rest:
            while True:
                rest.write(bytes(4096))
        assert [server.get(path).status for path in paths] == [200, 200, 200, 200, 404]
        assert server.post().problem["status"] == 507
        assert server.post(b"[").problem["status"] == 507
        assert metrics(server)['hourly_report_requests_total{kind="report",status="507"}'] == 2
        assert server.workers == workers
        os.kill(workers[0], signal.SIGKILL)
        await_true(lambda: "a worker cannot start" in server.log)
        assert server.get("/healthz").status == 200
        (small_disk / "rest").unlink()
        await_true(lambda: all_serve(server, 4))
        assert server.post().status == 200


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "server.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--host", "256.0.0.1"],
        ["--unix_socket", "/nowhere/report.sock"],
        ["--unix_socket", "README.md"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "error:" in done.stderr
    assert "listening" not in done.stderr


def test_port_in_use(server: Server) -> None:
    done = run("--port", str(server.port))
    assert done.returncode == 2
    assert "in use" in done.stderr
    assert done.stderr.count("\n") == 1


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("hourly-report")


def test_any_wsgi_server_runs_it(tmp_path: Path) -> None:
    """As gunicorn's own program does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        command = [sys.executable, "-m", "gunicorn", "--threads", "4", "--bind", f"fd://{listener.fileno()}"]
        command += ["--no-control-socket", "pipeline.serving:create_app()"]
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        pass_fds = [listener.fileno()]
        with subprocess.Popen(command, cwd=ROOT, pass_fds=pass_fds, stderr=subprocess.PIPE, env=environment) as program:
            with socket.create_connection(listener.getsockname(), timeout=60) as connection:
                connection.sendall(head(len(SAMPLE)) + SAMPLE)
                answer: Answer = receive(connection)
            program.terminate()
            assert program.wait(60) == 0
    assert json.loads(answer.headers["X-Report-Summary"])["counted"] == 6
    assert list(tmp_path.iterdir()) == []
