"""Connections of clients: what each has read, what it waits for, when it is cut off; answers, logged and sent.

Subclasses of waitress's classes, for what it has no option for.
"""

import array
import contextlib
import fcntl
import json
import logging
import termios
import time
from typing import Any

import waitress.channel
import waitress.task

from pipeline.serving import problems
from pipeline.serving.app import SUMMARY
from pipeline.serving.journal import Answer
from pipeline.serving.parsing import Ahead, Parser, is_slow
from pipeline.serving.problems import Problem

REQUESTS_A_CONNECTION = 20
"""Then the connection is closed, and the client connects again, to a process that has time. Otherwise 16 clients stayed
with one of two processes and got no more reports than one client did (105 a second, not 140 to 196)."""

UNSENT_BYTES = 64 * 1024
"""While more bytes of a connection's answers are unsent, its next request is not begun."""

_FIRST_BYTES = 16 * 1024  # read at once

_DETAILS = {
    400: "the request is not valid HTTP",
    431: "the head of the request is too long",
    500: "the server failed; its log says why",
    501: "this transfer encoding is not known; use chunked or none",
}


class _Logged:
    """Mixin for waitress's tasks that logs and counts each answer, then sends it."""

    def service(self: Any) -> None:
        try:
            super().service()  # type: ignore[misc]
        finally:
            _log(self)
        self.channel.flush()


def _log(task: Any) -> None:
    request = task.request
    summary = next((value for name, value in task.response_headers if name.lower() == SUMMARY.lower()), "{}")
    method = request.command if request.command in ("GET", "HEAD", "POST", "OPTIONS") else "-"
    task.channel.server.journal.answered(
        Answer(
            method,
            problems.kind(method, request.path),
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
        try:
            super().execute()
        except Exception:
            if self.wrote_header:
                raise
            logging.getLogger(__name__).exception("an answer failed")
            self._answer(Problem(500, _DETAILS[500]))

    def _answer(self, problem: Problem) -> None:
        self.status, self.response_headers, body = problem.to_response()
        self.complete, self.content_length = True, len(body)
        self.set_close_on_finish()
        self.write(body)


class _ErrorTask(_Logged, waitress.task.ErrorTask):  # type: ignore[misc]
    def execute(self) -> None:
        error = self.request.error
        if not isinstance(error, Problem):  # waitress's own
            status = error.code
            limit = self.channel.adj.settings.max_body_bytes
            error = problems.too_large(limit) if status == 413 else Problem(status, _DETAILS[status])
        self.request.error = error
        self.request.headers.pop("CONNECTION", None)  # it is closed, whatever the client asks for
        super().execute()


class Channel(waitress.channel.HTTPChannel):  # type: ignore[misc]
    """A connection of a client. One request is served at a time; bytes that come meanwhile are kept."""

    task_class, error_task_class = _Task, _ErrorTask
    request: Parser | Ahead | None
    answered = begun = 0
    passed_over = 0  # turns in which something had come, and others came first
    sent = 0  # bytes
    deferred = False  # a request is here, and waits until the answers before it are sent
    queued_at = 0.0  # since when (monotonic) a request waits for a slot
    _sending: tuple[float, int] | None = None  # since when answers wait to be sent, and sent then

    def parser_class(self, adj: Any) -> Parser | Ahead:
        """A parser for the next request; while another is being served an Ahead, which only keeps what comes."""
        if self.requests:
            return Ahead()
        parser = Parser(adj)
        self.begun += 1
        if self.begun > 2 * REQUESTS_A_CONNECTION:
            parser.fail(Problem(400, "too many requests, or blank lines, on one connection"))
        return parser

    def add_channel(self, map: Any = None) -> None:
        """Called by waitress for a new connection."""
        super().add_channel(map)
        self.server.changed.append(self)

    def del_channel(self, map: Any = None) -> None:
        """Called by waitress for a connection that ends: the next one may get its number."""
        self.server.forget(self._fileno)
        super().del_channel(map)

    def service(self) -> None:
        """Answers the next request; called by a thread for that."""
        if self.requests[0].command == "GET":
            self.server.let_reports_go_first()
        super().service()
        self.server.has_changed(self)

    def flush(self) -> None:
        """Sends what the socket takes now. Called by the thread that answered, so that the other need not wake up."""
        with self.outbuf_lock:
            if self.total_outbufs_len:
                self._flush_exception(self._flush_some, do_close=False)

    def write_soon(self, data: Any) -> int:
        """Takes a part of an answer; a large answer is sent while it is made. Returns the number of bytes."""
        count = int(super().write_soon(data))
        if self.total_outbufs_len >= self.adj.send_bytes:
            self.server.has_changed(self)
        return count

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Sends what the socket takes now; returns how many bytes that was."""
        count = int(super().send(data, do_close))
        self.sent += count
        return count

    def handle_read(self) -> None:
        """Reads what has come. An end within a request is answered: the client may have closed only its own side."""
        try:
            data = self.socket.recv(self._most_bytes())
        except OSError:
            self.handle_close()
            return
        if data:
            self.last_activity = time.time()
            self.received(data)
        elif not self._fail_unfinished(Problem(400, "the request breaks off")):
            self.handle_close()

    def _most_bytes(self) -> int:
        """To read at once: as many as have come of the body. What is refused costs little, large bodies few calls."""
        body = self.request.body_bytes_received if isinstance(self.request, Parser) else 0
        return min(max(body, _FIRST_BYTES), int(self.adj.recv_bytes))

    def unread_bytes(self) -> int:
        """How many bytes have come that were not read."""
        count = array.array("i", [0])
        with contextlib.suppress(OSError, ValueError):  # it was closed
            fcntl.ioctl(self.socket, termios.FIONREAD, count)
        return count[0]

    def is_for_report(self) -> bool:
        """Whether the next request needs a report to be made; all others are answered at once."""
        request = self.requests[0]
        return bool(request.command == "POST" and not (request.error or request.refused))

    def readable(self) -> bool:
        """Whether to read from the socket: not while bytes that were read before are not parsed."""
        return bool(super().readable() and not isinstance(self.request, Ahead))

    def writable(self) -> bool:
        """Whether handle_write() has something to do once the socket takes bytes."""
        return bool(super().writable() or self.deferred or self._has_ahead())

    def _has_ahead(self) -> bool:
        return isinstance(self.request, Ahead) and not self.requests

    def handle_write(self) -> None:
        """Sends, and begins the next request once at most UNSENT_BYTES are left to send."""
        super().handle_write()
        if self.total_outbufs_len > UNSENT_BYTES:
            return
        if self.deferred:
            self.deferred = False
            self.server.add_task(self)
        elif self._has_ahead():
            ahead, self.request = self.request, None
            self.received(ahead.data)  # type: ignore[union-attr]

    def cut_off(self, now: float, seconds: float) -> None:
        """Closes a connection that was silent for so many seconds; a late request is answered with 408 first."""
        if self.request is not None and self.request.is_late(seconds):
            self._fail_unfinished(Problem(408, "the request took too long to arrive"))
        elif now - self.last_activity > seconds or self._reads_slowly(seconds):
            self.will_close = True

    def _fail_unfinished(self, problem: Problem) -> bool:
        """Answers a request of which only a part has come; returns whether there is one."""
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
