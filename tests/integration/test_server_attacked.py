"""The server under attack, with figures: what ordinary clients get meanwhile, memory, open files, leftovers."""

import contextlib
import multiprocessing
import os
import resource
import socket
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from tests.process_support import LARGE
from tests.serving_support import EVENT, SAMPLE, Server, await_true, head, receive, running

POSTS = 1000  # 4 s: in fewer, p99 is the chance of one moment


def seconds_of_posts(server: Server) -> list[float]:
    """What an ordinary client's requests take, one after another; each must be answered 200."""
    result = []
    for _ in range(POSTS):
        start = time.perf_counter()
        answer = server.post()
        result.append(time.perf_counter() - start)
        assert answer.status == 200
    return result


def p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


def figures(seconds: list[float]) -> str:
    return f"p50 {statistics.median(seconds) * 1000:.1f} ms, p99 {p99(seconds) * 1000:.1f} ms"


def resident(server: Server) -> float:
    """MiB of the workers."""
    pages = sum(int(Path(f"/proc/{worker}/statm").read_text().split()[1]) for worker in server.workers)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def files(server: Server) -> int:
    return sum(len(os.listdir(f"/proc/{worker}/fd")) for worker in server.workers)


def send_and_forget(port: int, data: bytes, crowd: contextlib.ExitStack) -> None:
    """Sends what the server takes, and never reads."""
    connection = crowd.enter_context(socket.create_connection(("127.0.0.1", port)))
    connection.setblocking(False)
    with contextlib.suppress(OSError):
        while data:
            data = data[connection.send(data) :]


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
BLANKS = b"GET / HTTP/1.1\r\na:" + b" " * 30_000 + b"x\r\n\r\n"
ATTACKS = {
    "slow heads": b"POST / HTTP/1.1\r\nX: ",
    "slow bodies": head(1000) + b"[",
    "sizes of chunks": CHUNKED + b"0" * 5000,
    "extensions": CHUNKED + (b"1;" + b"x" * 500 + b"\r\n \r\n") * 2000,
    "trailers": CHUNKED + b"0\r\n" + b"x: y\r\n" * 60_000,
    "65,000 lines": b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 65_000 + b"\r\n",
    "blanks": BLANKS,
    "digits": b"GET a://" + b"1" * 30_000 + b" x\r\n\r\n",
    "pages that nobody reads": head(0, "GET", "/app.js") * 40,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("attacked") / "tmp", "--processes", "1", "--timeout", "5") as server:
        seconds_of_posts(server)  # compiled, and warm
        yield server


def attack(port: int, data: bytes, begun: Event, stop: Event) -> None:
    """A hundred connections, all of them again as soon as they are sent, after a second."""
    while not stop.is_set():
        with contextlib.ExitStack() as crowd:
            for _ in range(100):
                if not stop.is_set():
                    send_and_forget(port, data, crowd)
                    begun.set()
            stop.wait(1)


@pytest.mark.parametrize("data", ATTACKS.values(), ids=ATTACKS)
def test_others_are_served_meanwhile(server: Server, data: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """By a process of its own: one interpreter lock for both would have the victim wait for the attacker."""
    context = multiprocessing.get_context("spawn")
    quiet, idle, begun, stop = seconds_of_posts(server), files(server), context.Event(), context.Event()
    attacker = context.Process(target=attack, args=(server.port, data, begun, stop))
    attacker.start()
    try:
        assert begun.wait(60)
        attacked, most = seconds_of_posts(server), files(server)
    finally:
        stop.set()
        attacker.join()
    with capsys.disabled():
        print(f"\nquiet {figures(quiet)}; attacked {figures(attacked)}; {p99(attacked) / p99(quiet):.1f} times the p99")
        print(f"{most} files, {resident(server):.0f} MiB")
    await_true(lambda: files(server) <= idle + 5)
    await_true(lambda: not any(server.temporary.rglob("body")))


def test_reports_that_nobody_reads(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Clients that pipeline two more requests behind one with a large report, and never read."""
    hours = "".join(EVENT.replace("1617393003", str(3600 * k)) + "\n" for k in range(400_000)).encode()
    with contextlib.ExitStack() as crowd:
        for _ in range(3):
            connection = crowd.enter_context(server.connect())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(head(len(hours)) + hours)
            send_and_forget(server.port, (head(len(SAMPLE)) + SAMPLE) * 2, crowd)
        await_true(lambda: not any(server.temporary.rglob("body")))
        seconds = seconds_of_posts(server)
    with capsys.disabled():
        print(f"\nattacked {figures(seconds)}; {resident(server):.0f} MiB")


def test_thousand_clients_with_1024_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each gets a report, or is told to come again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    monkeypatch.setattr(Server, "wrapper", ("prlimit", "--nofile=1024:1024"))
    with running(tmp_path / "tmp", "--processes", "1") as server:
        with ThreadPoolExecutor(1000) as pool:
            statuses = Counter(pool.map(lambda _: server.post(LARGE).status, range(1000)))
        assert set(statuses) <= {200, 503}
        assert statuses[200] > 100
        assert server.post().status == 200
        assert "Traceback" not in server.log
    with capsys.disabled():
        print(f"\n{dict(statuses)}")


def in_threads(count: int, work: Callable[[], None]) -> None:
    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(work) for _ in range(count)]:
            done.result()


def test_memory_over_20_000_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With glibc's settings as they are."""
    with running(tmp_path / "tmp", "--processes", "1") as server:

        def posts() -> None:
            done = 0
            while done < 500:
                with server.connect() as connection:
                    for _ in range(20):
                        connection.sendall(head(len(SAMPLE)) + SAMPLE)
                        assert receive(connection).status == 200
                        done += 1

        sizes = []
        for _ in range(5):
            in_threads(8, posts)
            sizes.append(resident(server))
        with capsys.disabled():
            print("\nMiB after each 4,000 requests:", *(f"{size:.0f}" for size in sizes))
        assert sizes[-1] < sizes[0] * 1.1
