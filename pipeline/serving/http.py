"""Waitress, taught to refuse early, to cut off slow clients, to log, to answer with problems and to stop gracefully.

Waitress reads a whole request, into a nameless temporary file if it is large, before it calls the application: a slow
client costs a socket and no thread. What it has no option for is done here in subclasses, at the places it has for it.
"""

import contextlib
import json
import socket
import sys
import time
from typing import Any

import waitress.adjustments
import waitress.channel
import waitress.parser
import waitress.server
import waitress.task

from pipeline.serving import admission, bodies
from pipeline.serving.app import SUMMARY
from pipeline.serving.problems import Problem
from pipeline.serving.settings import Settings

REQUESTS_A_CONNECTION = 20
"""Then a client has to connect anew, and gets a process that has time: 16 clients stayed with one of two processes, and
were served no faster than one client (105 reports a second; so 140 to 196)."""

_RECEIVE_BYTES = 256 * 1024
_CHUNKED_BYTES = 4096  # parsed at a time: waitress copies the rest for each chunk, and a chunk may have one byte
_BODY_IN_MEMORY_BYTES = 256 * 1024
_CONNECTIONS = 1000
_SLOWEST = 2000  # bytes a second that a body must reach on average, after the first seconds

_DETAILS = {
    400: "the request is not HTTP as it should be",
    431: "the head of the request is too long",
    500: "the server failed; its log says why",
    501: "this transfer encoding is not known; use chunked or none",
}


class Parser(waitress.parser.HTTPRequestParser):  # type: ignore[misc]
    """Reads a request; ends it with an error (a Problem) as soon as that is known."""

    command = path = ""  # until the head is there

    def __init__(self, adj: Any) -> None:
        super().__init__(adj)
        self.began = self.completed_at = time.monotonic()
        self._admitted = False

    def received(self, data: bytes) -> int:
        """Bytes of data that belong to this request."""
        if self.chunked:
            data = data[:_CHUNKED_BYTES]
        try:
            consumed = int(super().received(data))
        except OSError as error:
            full = bodies.no_room(error)
            if full is None:
                raise
            consumed = len(data)
            self.fail(full.problem)
        self._check()
        self.completed_at = time.monotonic()
        return consumed

    def _check(self) -> None:
        settings: Settings = self.adj.settings
        if self.chunked:
            self.body_bytes_received = len(self.body_rcv.getbuf())  # without the bytes that frame the chunks
        if self.error:
            self.expect_continue = False  # or waitress would go on reading
        elif self.headers_finished and not self._admitted:
            self._admitted = True
            refused = admission.refuse(self.command, self.path, self.headers, settings)
            if refused and not self.completed:  # if it is, the application answers, and keeps the connection
                self.fail(refused)
        elif self.chunked and self.body_bytes_received > settings.max_body_bytes:
            self.fail(admission.too_large(settings.max_body_bytes))

    def fail(self, problem: Problem) -> None:
        """Ends the request: it will be answered with the problem, and the connection closed."""
        self.error, self.completed, self.expect_continue = problem, True, False

    def is_late(self, seconds: float) -> bool:
        """Whether a part of the request has come, and the rest takes longer than a client should need."""
        begun = bool(self.header_plus) or self.headers_finished
        return begun and time.monotonic() - self.began > seconds + self.body_bytes_received / _SLOWEST


class _Logged:
    """Mixin for waitress's tasks: a line on stderr for each answer."""

    def service(self: Any) -> None:
        try:
            super().service()  # type: ignore[misc]
        finally:
            _log(self)


def _log(task: Any) -> None:
    request, now = task.request, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    summary = next((value for name, value in task.response_headers if name.lower() == SUMMARY.lower()), "{}")
    method = request.command if request.command in ("GET", "HEAD", "POST", "OPTIONS") else "-"
    milliseconds = (time.monotonic() - request.completed_at) * 1000
    line = (
        f"{now} {method} {task.status[:3]} bytes={request.body_bytes_received} "
        f"events={json.loads(summary).get('read', 0)} ms={milliseconds:.0f}\n"
    )
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        sys.stderr.write(line)


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
        super().execute()


class Channel(waitress.channel.HTTPChannel):  # type: ignore[misc]
    """A connection."""

    task_class, error_task_class, parser_class = _Task, _ErrorTask, Parser
    request: Parser | None
    answered = 0

    def cut_off(self, now: float, seconds: float) -> None:
        """Closes a connection that was silent for seconds; one whose request is late gets an answer before."""
        if self.request is not None and self.request.is_late(seconds):
            with self.requests_lock:
                late, self.request = self.request, None
                late.fail(Problem(408, "the request took too long to arrive"))
                self.requests.append(late)
                self.server.add_task(self)
        elif now - self.last_activity > seconds:
            self.will_close = True

    def finish(self) -> None:
        """Closes the connection once what was answered is sent."""
        if self.total_outbufs_len:
            self.close_when_flushed = True
        else:
            self.will_close = True


class Server(waitress.server.TcpWSGIServer):  # type: ignore[misc]
    """Serves an application on a listening socket that other processes may share."""

    channel_class = Channel

    def __init__(self, application: Any, settings: Settings, listener: socket.socket) -> None:
        adjustments = waitress.adjustments.Adjustments(
            sockets=[listener],
            threads=settings.slots + settings.queue + 2,  # those who run, wait, and say that all slots are busy
            max_request_body_size=settings.max_body_bytes + _RECEIVE_BYTES,  # the parser tells exactly
            inbuf_overflow=_BODY_IN_MEMORY_BYTES,
            recv_bytes=_RECEIVE_BYTES,
            connection_limit=_CONNECTIONS,
            cleanup_interval=1,
            asyncore_use_poll=True,
            ident=None,
        )
        adjustments.settings = settings
        info = (listener.family, listener.type, listener.proto, listener.getsockname())
        super().__init__(application, _sock=listener, adj=adjustments, bind_socket=False, sockinfo=info)
        self._settings, self._stopping = settings, False

    def maintenance(self, now: float) -> None:
        """Called by waitress each second."""
        for channel in list(self.active_channels.values()):
            if not channel.requests:
                channel.cut_off(now, self._settings.timeout)

    def stop(self) -> None:
        """Makes serve() end. May be called by a signal handler or another thread."""
        self._stopping = True
        self.pull_trigger()

    def serve(self) -> None:
        """Serves until stop() is called; then finishes what runs, for as long as the settings grant."""
        while not self._stopping:
            self._turn()
        self.accepting = False
        self.del_channel(self._map)
        self.socket.close()
        deadline = time.monotonic() + self._settings.grace
        while self.active_channels and time.monotonic() < deadline:
            self.maintenance(time.time())
            for channel in list(self.active_channels.values()):
                if not channel.requests:
                    channel.finish()
            self._turn()

    def _turn(self) -> None:
        self.asyncore.loop(timeout=1, use_poll=True, map=self._map, count=1)
