"""Workers of the server that are killed at any moment, while all its paths are asked."""

import contextlib
import os
import random
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.processes import await_true
from tests.serving_support import LARGE, SAMPLE, Server, files, head, metrics, receive, running

REQUESTS = {
    "page": head(0, "GET"),
    "metrics": head(0, "GET", "/metrics"),
    "health": head(0, "GET", "/healthz"),
    "report": head(len(SAMPLE)) + SAMPLE,
    "large report": head(len(LARGE)) + LARGE,
}
ROUNDS, KILLS_A_ROUND = 3, 6


def ask(server: Server, seed: int, stop: threading.Event) -> Counter[tuple[str, int]]:
    """Sends requests until it is told to stop; their statuses, 0 where the connection ended without an answer."""
    chance, seen = random.Random(seed), Counter[tuple[str, int]]()
    while not stop.is_set():
        name = chance.choice(list(REQUESTS))
        status = 0
        with contextlib.suppress(ConnectionError, IndexError), server.connect() as connection:  # a hang is neither
            connection.sendall(REQUESTS[name])
            status = receive(connection).status
        seen[name, status] += 1
    return seen


def all_serve(server: Server) -> bool:
    with contextlib.suppress(ConnectionError, IndexError):
        return metrics(server)["hourly_report_workspaces"] == 4
    return False


def kill_at_random(server: Server, chance: random.Random) -> int:
    """Kills the worker beside one that serves, and those that take its place while they start; how many."""
    kept = chance.choice(server.workers)
    killed: set[int] = set()
    pause = threading.Event()
    while len(killed) < KILLS_A_ROUND:
        pause.wait(chance.random() * 3)
        for worker in set(server.workers) - {kept} - killed:
            os.kill(worker, signal.SIGKILL)
            killed.add(worker)
    await_true(lambda: all_serve(server))
    return len(killed)


def test_no_answer_is_wrong_while_workers_are_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each request gets its answer, or its connection ends with the worker."""
    stop, chance = threading.Event(), random.Random(1)
    with running(tmp_path / "tmp", "--processes", "2") as server, ThreadPoolExecutor(4) as pool:
        await_true(lambda: all_serve(server))
        asked = [pool.submit(ask, server, seed, stop) for seed in range(4)]
        try:
            kills = sum(kill_at_random(server, chance) for _ in range(ROUNDS))
        finally:
            stop.set()
        seen = sum((done.result() for done in asked), Counter[tuple[str, int]]())
        with capsys.disabled():
            print(f"\n{kills} kills; {dict(seen)}")
        assert {status for _, status in seen} <= {0, 200, 503}
        assert all(seen[name, 200] for name in REQUESTS)
        assert "Traceback" not in server.log
        await_true(lambda: files(server.temporary) == [])
        assert server.stop() == 0
