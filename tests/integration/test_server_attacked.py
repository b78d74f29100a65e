"""The server under attack behind nginx, with figures: ordinary clients are served throughout, nothing is left."""

import contextlib
import multiprocessing
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from tests.integration.servers import Proxy, proxied
from tests.processes import await_true
from tests.serving_support import CHUNKED, EVENT, REPORT, SAMPLE, Server, head, receive, running

POSTS = 300


def seconds_of_posts(proxy: Proxy) -> list[float]:
    """What an ordinary client's requests take, one after another; each must be answered 200."""
    result = []
    for _ in range(POSTS):
        start = time.perf_counter()
        answer = proxy.ask(head(len(SAMPLE)) + SAMPLE)
        result.append(time.perf_counter() - start)
        assert (answer.status, answer.body.decode()) == (200, REPORT)
    return result


def figures(seconds: list[float]) -> str:
    p99 = statistics.quantiles(seconds, n=100)[98]
    return f"p50 {statistics.median(seconds) * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms"


def resident(server: Server) -> float:
    """MiB of the workers."""
    pages = sum(int(Path(f"/proc/{worker}/statm").read_text().split()[1]) for worker in server.workers)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def open_files(server: Server) -> int:
    return sum(len(os.listdir(f"/proc/{worker}/fd")) for worker in server.workers)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("attacked")
    with running(folder / "tmp", "--processes", "2") as server, proxied(server, folder, has_tls=False) as proxy:
        seconds_of_posts(proxy)  # compiled, and warm
        yield proxy


REQUEST = head(len(SAMPLE)) + SAMPLE
LARGE_REPORT = "".join(EVENT.replace("1617393003", str(3600 * k)) + "\n" for k in range(2000)).encode()
CROWDS = {
    "slow heads": (800, b"POST / HTTP/1.1\r\nHost: localhost\r\nX: ", b"x"),
    "slow bodies": (800, head(10_000) + b"[", b" "),
    "slow chunks": (800, CHUNKED + b"5\r\n[", b" "),
    "slow readers": (800, head(0, "GET", "/chart.js"), b""),
    "slow readers of large reports": (100, head(len(LARGE_REPORT)) + LARGE_REPORT, b""),
    "pipelines that nobody reads": (200, REQUEST * 40, b""),
    "pages that nobody reads": (200, head(0, "GET", "/app.js") * 40, b""),
}


def crowd(port: int, count: int, data: bytes, then: bytes, begun: Event, stop: Event) -> None:
    """So many connections that send, never read, and send a byte now and then; those that are closed come again."""
    connections: list[socket.socket | None] = [None] * count
    while not stop.is_set():
        for number in range(count):
            if stop.is_set():
                break
            connections[number] = renewed(connections[number], port, data, then)
        begun.set()
        stop.wait(1)


def renewed(connection: socket.socket | None, port: int, data: bytes, then: bytes) -> socket.socket | None:
    """A connection that has sent a byte more, or is begun; None where the server has closed it."""
    try:
        if connection is None:
            connection = open_slowly(port)
            send(connection, data)
        elif then:
            connection.send(then)
        return connection
    except BlockingIOError:
        return connection
    except OSError:
        if connection:
            connection.close()
        return None


def open_slowly(port: int) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    return connection


def send(connection: socket.socket, data: bytes) -> None:
    connection.settimeout(0.2)  # who never reads cannot send it all
    with contextlib.suppress(TimeoutError):
        connection.sendall(data)
    connection.setblocking(False)


@pytest.mark.parametrize(("count", "data", "then"), CROWDS.values(), ids=CROWDS)
def test_others_are_served_meanwhile(
    proxy: Proxy, count: int, data: bytes, then: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a process of its own: one interpreter lock for both would have the victim wait for the attacker."""
    context = multiprocessing.get_context("spawn")
    quiet, idle, begun, stop = seconds_of_posts(proxy), open_files(proxy.server), context.Event(), context.Event()
    attacker = context.Process(target=crowd, args=(proxy.port, count, data, then, begun, stop))
    attacker.start()
    try:
        assert begun.wait(120)
        attacked, most = seconds_of_posts(proxy), open_files(proxy.server)
    finally:
        stop.set()
        attacker.join()
    with capsys.disabled():
        print(f"\nquiet {figures(quiet)}; attacked {figures(attacked)}; {most} files, {resident(proxy.server):.0f} MiB")
    await_true(lambda: open_files(proxy.server) <= idle + 20)  # connections that nginx keeps
    await_true(lambda: not any(proxy.server.temporary.rglob("body*")))


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
FRAMING = {
    "length and chunks": head(5, Transfer_Encoding="chunked") + b"0\r\n\r\n" + SMUGGLED,
    "two lengths": head(0, Content_Length=str(len(SMUGGLED))) + SMUGGLED,
    "odd encoding": head(0, Transfer_Encoding="xchunked") + SMUGGLED,
    "encoding with a tab": head(0, Transfer_Encoding="\tchunked") + b"0\r\n\r\n" + SMUGGLED,
    "doubled chunked": CHUNKED.replace(b"chunked", b"chunked, chunked") + b"0\r\n\r\n" + SMUGGLED,
    "chunks in HTTP/1.0": CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n" + SMUGGLED,
    "bare line feeds": CHUNKED + b"0\n\n" + SMUGGLED,
    "size of a chunk": CHUNKED + b"0x0\r\n\r\n" + SMUGGLED,
    "size that overflows": CHUNKED + b"10000000000000000\r\n[]\r\n0\r\n\r\n" + SMUGGLED,
    "long extension": CHUNKED + b"1;" + b"x" * 100_000,
    "long trailer": CHUNKED + b"0\r\n" + b"x: y\r\n" * 60_000,
    "blank before a colon": head(0).replace(b"Content-Length:", b"Content-Length :") + SMUGGLED,
    "folded line": head(0, X="a\r\n Content-Length: 44") + SMUGGLED,
    "65,000 lines": b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 65_000 + b"\r\n",
    "blanks": b"GET / HTTP/1.1\r\na:" + b" " * 30_000 + b"x\r\n\r\n",
    "digits": b"GET a://" + b"1" * 30_000 + b" x\r\n\r\n",
    "NUL": head(0, X="a\0b") + SMUGGLED,
}


@pytest.mark.parametrize("data", FRAMING.values(), ids=FRAMING)
def test_malformed_framing_carries_no_second_request(proxy: Proxy, data: bytes) -> None:
    """What comes through is one request for nginx and the server alike; others are served."""
    served = proxy.server.log.count("GET other 404")
    with proxy.connect() as connection:
        with contextlib.suppress(OSError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError), connection.makefile("rb") as stream:
            stream.read()
    assert proxy.ask(REQUEST).body.decode() == REPORT
    assert "Traceback" not in proxy.server.log
    assert " 500 " not in proxy.server.log
    allowed = b"HTTP/1.1\r\nHost" in data and data.startswith(
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0",)
    )
    assert proxy.server.log.count("GET other 404") - served <= allowed


def in_threads(count: int, work: Callable[[], None]) -> None:
    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(work) for _ in range(count)]:
            done.result()


def test_memory_over_20_000_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(tmp_path / "tmp", "--processes", "1") as server:

        def posts() -> None:
            for _ in range(25):
                with server.connect() as connection:
                    for _ in range(20):  # then the server closes it
                        connection.sendall(REQUEST)
                        assert receive(connection).status == 200

        sizes = []
        for _ in range(5):
            in_threads(8, posts)
            sizes.append(resident(server))
        with capsys.disabled():
            print("\nMiB after each 4,000 requests:", *(f"{size:.0f}" for size in sizes))
        assert sizes[-1] < sizes[0] * 1.1
