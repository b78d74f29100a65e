"""The processes of a server: started, stopped, killed and replaced."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.process_support import SKIP, SLOW, chunked, files, metrics
from tests.serving_support import (
    EVENT,
    assert_no_internals,
    await_true,
    head,
    receive,
    running,
)


def test_sigterm_finishes_what_runs(tmp_path: Path) -> None:
    with running(tmp_path / "tmp", "--processes", "2") as server, ThreadPoolExecutor(1) as pool:
        idle = server.connect()
        answer = pool.submit(server.post, SLOW, SKIP)
        await_true(lambda: server.is_running_large)
        assert server.stop() == 0
        assert answer.result().status == 200
        assert json.loads(answer.result().headers["X-Report-Summary"])["rejected"] == 200_000
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
            connection.sendall(head(len(SLOW), path=SKIP) + SLOW)
            await_true(lambda: server.is_running_large)
            assert server.stop() == 0
        assert list(server.temporary.iterdir()) == []


def test_killed(tmp_path: Path) -> None:
    """The workers notice, and end; what they leave, the next start removes."""
    with running(tmp_path / "tmp", "--processes", "2") as server:
        with server.connect() as connection:
            connection.sendall(head(len(SLOW), path=SKIP) + SLOW)
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
            connection.sendall(head(len(SLOW), path=SKIP) + SLOW)
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


def test_workers_that_end_while_they_start(tmp_path: Path) -> None:
    """The server does not give up while another serves."""
    with running(tmp_path / "tmp", "--processes", "2") as server:
        await_true(lambda: metrics(server)["hourly_report_slots"] == 4)
        one, other = server.workers
        for kills in range(1, 6):
            os.kill(other, signal.SIGKILL)
            await_true(lambda kills=kills: server.log.count("starting another") == kills)  # type: ignore[misc]
            await_true(lambda other=other: server.workers not in ([one], [one, other]))  # type: ignore[misc]
            (other,) = set(server.workers) - {one}
        assert server.post().status == 200
        await_true(lambda: metrics(server)["hourly_report_slots"] == 4)


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
            await_true(lambda: metrics(server).get("hourly_report_slots") == 2)  # then no slot is in the making
            (folder,) = server.temporary.iterdir()
            with open_folder(folder) as descriptor, pytest.raises(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder.rename(tmp_path / "cleaned"))  # at once: the server makes it again each second
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
