"""Waitress, taught to refuse early, to cut off slow clients, to log, to answer with problems and to stop gracefully.

Waitress reads a whole request, into a nameless temporary file if it is large, before it calls the application: a slow
client costs a socket and no thread. What it has no option for is done here in subclasses, at the places it has for it.
"""

import json
import logging
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import waitress.adjustments
import waitress.channel
import waitress.server
import waitress.task

from pipeline.serving import admission, resources
from pipeline.serving.app import SUMMARY
from pipeline.serving.journal import Answer, Journal
from pipeline.serving.parsing import HEAD_BYTES, Ahead, Parser, is_slow
from pipeline.serving.problems import Problem
from pipeline.serving.settings import Settings

REQUESTS_A_CONNECTION = 20
"""Then a client has to connect anew, and gets a process that has time: 16 clients stayed with one of two processes, and
were served no faster than one client (105 reports a second; so 140 to 196)."""

_RECEIVE_BYTES = 256 * 1024
_BODY_IN_MEMORY_BYTES = 256 * 1024
_UNSENT_BYTES = 64 * 1024  # of answers on a connection, with which no further request of it is begun

_QUICK_THREADS = 1
"""For all but reports. Where the threads for reports take them, 2,000 pages at once keep 36 threads busy, and a report
waits a second for its turns at the interpreter; 0.3 s beside one thread, 0.8 beside two."""

_DETAILS = {
    400: "the request is not HTTP as it should be",
    431: "the head of the request is too long",
    500: "the server failed; its log says why",
    501: "this transfer encoding is not known; use chunked or none",
}


class _Logged:
    """Mixin for waitress's tasks: each answer goes to the journal."""

    def service(self: Any) -> None:
        try:
            super().service()  # type: ignore[misc]
        finally:
            _log(self)


def _log(task: Any) -> None:
    request = task.request
    summary = next((value for name, value in task.response_headers if name.lower() == SUMMARY.lower()), "{}")
    method = request.command if request.command in ("GET", "HEAD", "POST", "OPTIONS") else "-"
    task.channel.server.journal.answered(
        Answer(
            method,
            admission.kind(method, request.path),
            int(task.status[:3]),
            request.body_bytes_received,
            json.loads(summary).get("read", 0),
            time.monotonic() - request.completed_at,
        )
    )


class _Task(_Logged, waitress.task.WSGITask):  # type: ignore[misc]
    def execute(self) -> None:
        self.channel.answered += 1
        if self.channel.answered >= REQUESTS_A_CONNECTION:
            self.request.headers["CONNECTION"] = "close"  # the answer says so to the client
        super().execute()


class _ErrorTask(_Logged, waitress.task.ErrorTask):  # type: ignore[misc]
    def execute(self) -> None:
        error = self.request.error
        if not isinstance(error, Problem):  # waitress's own
            status = error.code
            limit = self.channel.adj.settings.max_body_bytes
            error = admission.too_large(limit) if status == 413 else Problem(status, _DETAILS[status])
        self.request.error = error
        self.request.headers.pop("CONNECTION", None)  # it is closed, whatever the client asks for
        super().execute()


class Channel(waitress.channel.HTTPChannel):  # type: ignore[misc]
    """A connection."""

    task_class, error_task_class = _Task, _ErrorTask
    request: Parser | Ahead | None
    answered = begun = 0
    sent = 0  # bytes
    deferred = False  # a request is here, and waits until the answers before it are sent
    _sending: tuple[float, int] | None = None  # since when answers wait to be sent, and sent then

    def parser_class(self, adj: Any) -> Parser | Ahead:
        """A parser of the next request, while no other waits for its answer."""
        if self.requests:
            return Ahead()
        parser = Parser(adj)
        self.begun += 1
        if self.begun > 2 * REQUESTS_A_CONNECTION:
            parser.fail(Problem(400, "too many requests, or blank lines, on one connection"))
        return parser

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Bytes that the connection took."""
        count = int(super().send(data, do_close))
        self.sent += count
        return count

    def handle_read(self) -> None:
        """Reads what has come. An end within a request is answered: a client may have closed only its own side."""
        try:
            data = self.socket.recv(self.adj.recv_bytes)
        except OSError:
            self.handle_close()
            return
        if data:
            self.last_activity = time.time()
            self.received(data)
        elif not self._fail_unfinished(Problem(400, "the request breaks off")):
            self.handle_close()

    def is_for_report(self) -> bool:
        """Whether the next request may take longer than it takes to say something that is known."""
        request = self.requests[0]
        return bool(request.command == "POST" and not (request.error or request.refused))

    def readable(self) -> bool:
        """Whether to read: not while what was read before is not parsed."""
        return bool(super().readable() and not isinstance(self.request, Ahead))

    def writable(self) -> bool:
        """Whether there is something to do when the connection takes bytes."""
        return bool(super().writable() or self.deferred or self._has_ahead())

    def _has_ahead(self) -> bool:
        return isinstance(self.request, Ahead) and not self.requests

    def handle_write(self) -> None:
        """Sends, and begins the next request once little is left to send."""
        super().handle_write()
        if self.total_outbufs_len > _UNSENT_BYTES:
            return
        if self.deferred:
            self.deferred = False
            self.server.add_task(self)
        elif self._has_ahead():
            ahead, self.request = self.request, None
            self.received(ahead.data)  # type: ignore[union-attr]

    def cut_off(self, now: float, seconds: float) -> None:
        """Closes a connection that was silent for seconds; one whose request is late gets an answer before."""
        if self.request is not None and self.request.is_late(seconds):
            self._fail_unfinished(Problem(408, "the request took too long to arrive"))
        elif now - self.last_activity > seconds or self._reads_slowly(seconds):
            self.will_close = True

    def _fail_unfinished(self, problem: Problem) -> bool:
        """Answers a request that has not come whole; whether there is one."""
        with self.requests_lock:
            if self.request is None or not self.request.begun:
                return False
            late, self.request = self.request, None
            late.fail(problem)  # type: ignore[union-attr]
            self.requests.append(late)
            if len(self.requests) == 1:
                self.server.add_task(self)
            return True

    def _reads_slowly(self, seconds: float) -> bool:
        if not self.total_outbufs_len:
            self._sending = None
        elif self._sending is None:
            self._sending = time.monotonic(), self.sent
        return self._sending is not None and is_slow(self._sending[0], self.sent - self._sending[1], seconds)

    def finish(self) -> None:
        """Closes the connection once what was answered is sent."""
        if self.total_outbufs_len:
            self.close_when_flushed = True
        else:
            self.will_close = True


class Server(waitress.server.TcpWSGIServer):  # type: ignore[misc]
    """Serves an application on a listening socket that other processes may share.

    renew_folder: makes the folder for temporary files again where it is gone. may_accept: whether new connections are
    for this process. on_second: called each second.
    """

    channel_class = Channel

    def __init__(
        self,
        application: Any,
        settings: Settings,
        listener: socket.socket,
        journal: Journal,
        renew_folder: Callable[[], None],
        may_accept: Callable[[], bool] = lambda: True,
        on_second: Callable[[], None] = lambda: None,
    ) -> None:
        adjustments = waitress.adjustments.Adjustments(
            sockets=[listener],
            threads=settings.slots + settings.queue + 2,  # those who run, wait, and say that all slots are busy
            max_request_body_size=settings.max_body_bytes + _RECEIVE_BYTES,  # the parser tells exactly
            inbuf_overflow=_BODY_IN_MEMORY_BYTES,
            recv_bytes=_RECEIVE_BYTES,
            max_request_header_size=HEAD_BYTES,
            outbuf_high_watermark=sys.maxsize,  # else threads wait for clients; add_task() bounds what is unsent
            connection_limit=resources.connections(settings.slots),
            cleanup_interval=1,
            asyncore_use_poll=True,
            ident=None,
        )
        adjustments.settings, adjustments.renew_folder = settings, renew_folder
        info = (listener.family, listener.type, listener.proto, listener.getsockname())
        super().__init__(application, _sock=listener, adj=adjustments, bind_socket=False, sockinfo=info)
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # warns where more wait than there are threads
        self._quick = waitress.task.ThreadedTaskDispatcher()
        self._quick.set_thread_count(_QUICK_THREADS)
        self._may_accept, self._on_second = may_accept, on_second
        self._settings, self.journal, self.stopping = settings, journal, False

    def readable(self) -> bool:
        """Whether to accept connections: also while this process starts, unless others can serve them."""
        return bool(super().readable() and self._may_accept())

    def add_task(self, channel: Channel) -> None:
        """Has a thread serve a connection's next request, unless the answers before it are still to be sent."""
        if channel.total_outbufs_len > _UNSENT_BYTES:
            channel.deferred = True
        elif channel.is_for_report():
            super().add_task(channel)
        else:
            self._quick.add_task(channel)

    def maintenance(self, now: float) -> None:
        """Called by waitress each second."""
        self._on_second()
        for channel in list(self.active_channels.values()):
            if not channel.requests or channel.deferred:
                channel.cut_off(now, self._settings.timeout)

    def stop(self) -> None:
        """Makes serve() end. May be called by a signal handler or another thread."""
        self.stopping = True
        self.pull_trigger()

    def serve(self) -> None:
        """Serves until stop() is called; then finishes what runs, for as long as the settings grant."""
        while not self.stopping:
            self._turn()
        self.accepting = False
        self.del_channel(self._map)
        self.socket.close()
        deadline = time.monotonic() + self._settings.grace
        while self.active_channels and time.monotonic() < deadline:
            self.maintenance(time.time())
            for channel in list(self.active_channels.values()):
                if not (channel.requests or isinstance(channel.request, Ahead)):
                    channel.finish()
            self._turn()

    def _turn(self) -> None:
        self.asyncore.loop(timeout=1, use_poll=True, map=self._map, count=1)
