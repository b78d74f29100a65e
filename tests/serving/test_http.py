"""HTTP as clients speak it, well or badly, to a real server: chunks, pipelines, what breaks off."""

import contextlib
import re
import select
import socket
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
import waitress.adjustments

from pipeline.serving import http
from pipeline.serving.connections import REQUESTS_A_CONNECTION, Channel
from pipeline.serving.journal import Journal
from pipeline.serving.settings import Settings
from pipeline.serving.slots import Slot, Slots
from tests.process_support import LIMIT, chunked
from tests.serving_support import (
    REPORT,
    SAMPLE,
    Server,
    await_true,
    head,
    receive,
)


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


def test_requests_that_come_at_once_are_parsed_one_by_one() -> None:
    """Each when the one before is answered, and other connections had their turn."""
    adjustments = waitress.adjustments.Adjustments()
    adjustments.settings, adjustments.renew_folder = Settings(), lambda: None
    tasks: list[Any] = []
    server = SimpleNamespace(add_task=tasks.append, active_channels={}, changed=[], forget=lambda _: None)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(server, ours, "", adjustments, map={})
        channel.received(head(0, method="GET") * 3 + head(3) + b"[1")
        for number in range(1, 4):
            assert (len(channel.requests), len(tasks)) == (1, number)
            assert not channel.readable()
            assert not channel.writable()  # or the loop would not rest
            channel.requests.pop()  # answered
            assert not channel.readable()
            assert channel.writable()
            channel.handle_write()
        assert not channel.requests
        channel.received(b"]" + head(0, method="GET"))
        assert [request.command for request in channel.requests] == ["POST"]


class Idle(http.Server):
    """A server in this process whose loop does not run; connections are given to it. Its reports are empty."""

    def __init__(self, queue: int = 32) -> None:
        self.slots, self._crowd = Slots(), contextlib.ExitStack()
        listener = self._crowd.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.setblocking(False)
        super().__init__(self._report, Settings(queue=queue), listener, Journal(), self.slots, lambda: None)

    def _report(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "0")])
        return []

    def give(self, data: bytes) -> socket.socket:
        """The client's end of a new connection that has sent data."""
        ours, theirs = (self._crowd.enter_context(end) for end in socket.socketpair())
        Channel(self, ours, ("127.0.0.1", 1), self.adj, map={}).received(data)
        theirs.settimeout(60)
        return theirs

    def connect(self, *sent: bytes) -> list[Channel]:
        """The server's ends of new connections, in the order of what each has sent, which has come."""
        address = self.socket.getsockname()
        clients = [self._crowd.enter_context(socket.create_connection(address)) for _ in sent]
        for client, data in zip(clients, sent, strict=True):
            client.sendall(data)
        self._turn()
        by_address = {channel.addr: channel for channel in self.active_channels.values()}
        channels = [by_address[client.getsockname()] for client in clients]
        await_true(lambda: [channel.unread_bytes() for channel in channels] == list(map(len, sent)))
        return channels

    def __exit__(self, *_: object) -> None:
        for threads in (self.task_dispatcher, self._pages):
            threads.shutdown()
        self._crowd.close()
        self.trigger.close()

    def __enter__(self) -> "Idle":
        return self


@pytest.mark.parametrize(
    ("request_", "is_report"),
    [
        (head(3) + b"[1]", True),
        (head(3, "POST", "/?rejects=skip") + b"[1]", True),
        (head(3, "POST", "/?rejects=maybe") + b"[1]", False),
        (head(3, "POST", "/nothing") + b"[1]", False),
        (head(10**12), False),
        (head(0, "GET"), False),
        (head(0, "GET", "/metrics"), False),
        (b"nonsense\r\n\r\n", False),
    ],
)
def test_only_reports_take_the_threads_for_reports(request_: bytes, is_report: bool) -> None:
    """Else what costs nothing to ask for would keep all of them busy."""
    with Idle() as server:
        server._pages.shutdown()
        server.give(request_)
        assert (len(server.task_dispatcher.queue), len(server._pages.queue)) == (is_report, not is_report)


REQUEST = head(len(SAMPLE)) + SAMPLE


def test_reports_wait_for_a_slot_as_many_as_may() -> None:
    """First come, first served; who may not wait is told so at once."""
    with Idle(queue=2) as server:
        waiting = [server.give(REQUEST) for _ in range(2)]
        assert server.waiting == 2
        answer = receive(server.give(REQUEST))
        assert answer.problem["status"] == 503
        assert int(answer.headers["Retry-After"]) > 0
        server.slots.add(Slot.__new__(Slot))
        assert [receive(client).status for client in waiting] == [200, 200]
        await_true(lambda: server.waiting == 0)
        assert receive(server.give(REQUEST)).status == 200


def test_pages_let_reports_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with Idle() as server:
        monkeypatch.setattr(http, "_MOMENT", 600)
        server.slots.total = 1  # and it is not free
        client = server.give(head(0, "GET"))
        await_true(lambda: not server._pages.queue)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
        server.slots.total = 0
        client.settimeout(60)
        assert receive(client).status == 200


def test_pages_wait_but_a_moment() -> None:
    with Idle() as server:
        server.slots.total = 1
        assert receive(server.give(head(0, "GET"))).status == 200


def test_a_free_slot_is_no_wait() -> None:
    with Idle(queue=0) as server:
        assert receive(server.give(REQUEST)).problem["status"] == 503
        server.slots.add(Slot.__new__(Slot))
        assert receive(server.give(REQUEST)).status == 200


def test_a_defect_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    """Also one of what is beneath the application, whose answer is then waitress's to make."""
    with Idle() as server:
        server.application = lambda environ, start_response: 1 / 0
        client = server.give(head(0, "GET"))
        assert receive(client).problem["status"] == 500
        assert [record.message for record in caplog.records] == ["an answer failed"]


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with Idle() as server:
        first = server.give(REQUEST)
        server.maintenance(0)
        assert server.waiting == 1
        monkeypatch.setattr(http, "_PATIENCE", -1)
        server.maintenance(0)
        assert receive(first).problem["status"] == 503
        assert server.waiting == 0


def test_a_crowd_is_connected_in_one_turn() -> None:
    with Idle() as server:
        assert len(server.connect(*[b""] * 30)) == 30


def test_who_sends_little_is_read_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nobody is passed over for ever."""
    with Idle() as server:
        server._pages.shutdown()
        large, small = server.connect(head(LIMIT) + b" " * 50_000, head(0, "GET"))
        ticks = count(1.0)
        monkeypatch.setattr(http, "_TURN", 1.5)  # of a clock that each look moves on: time for one
        monkeypatch.setattr(http, "time", SimpleNamespace(monotonic=ticks.__next__, time=lambda: 0))
        server._turn()
        assert (small.unread_bytes(), small.passed_over, large.passed_over) == (0, 0, 1)
        assert large.unread_bytes() > 50_000
        large.passed_over = 20
        assert http._weight((large, select.POLLIN)) == 0
        large.socket.close()
        assert large.unread_bytes() == 0


def test_as_much_is_read_at_once_as_has_come_of_a_body() -> None:
    with Idle() as server:
        server.give(b"")
        (channel,) = server.active_channels.values()
        sizes = [channel._most_bytes()]
        channel.received(head(1_000_000))
        for more in (1, 30_000, 900_000):
            channel.received(b" " * more)
            sizes.append(channel._most_bytes())
        assert sizes == [16_384, 16_384, 30_001, 262_144]


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
