"""Parses requests as they arrive, within bounds, and refuses one as soon as there is a reason."""

import re
import time
from typing import Any

import waitress.parser
from waitress.buffers import OverflowableBuffer
from waitress.rfc7230 import CHUNK_EXT_RE
from waitress.utilities import BadRequest

from pipeline.serving import bodies, problems
from pipeline.serving.problems import Problem
from pipeline.serving.settings import Settings

HEAD_BYTES = 32 * 1024
"""Most bytes of a request's head; browsers and proxies send less than 16 KiB."""

HEADER_LINES = 200
"""Most lines of a head: waitress joins header lines of one name by copying, in quadratic time."""

_CONTROL_LINE = 1024  # bytes: the size of a chunk, with its extensions
_TRAILER = 8 * 1024  # bytes
_FRAMING = 16 * 1024  # bytes that frame chunks, and as many more as ...
_FRAMING_A_BYTE = 16  # ... this for each byte of the body: chunks of one byte need five
_SLOWEST = 2000  # bytes a second that a body must reach on average, after the first seconds

_REQUEST_LINE = re.compile(rb"(?=([^ \r\n]+))\1 (?=([^ \r\n]+))\2( HTTP/[0-9]\.[0-9])?[ \t]*\r\n")
"""Groups in (?=()) are atomic: what they matched is not tried shorter, which took 1 ms for 30 KB."""

_LONG_AUTHORITY = re.compile(rb"[^ ]+ [^ :?#]+://[^ ?#/]{300}")
"""A target such as http://HOST/ with a host of 300 bytes; names have 253. waitress takes 1.5 ms for 30 KB of digits."""

_CONTROL = re.compile(rb"([0-9A-Fa-f]{1,16})(;[^\r\n]*)?\r\n")


class Parser(waitress.parser.HTTPRequestParser):  # type: ignore[misc]
    """A request as it arrives. refused: the Problem that its head is, or None. error: set once no more is read."""

    command = path = ""  # until the head is there
    body_rcv: Any
    refused: Problem | None = None

    def __init__(self, adj: Any) -> None:
        super().__init__(adj)
        self.began = self.completed_at = time.monotonic()
        self._admitted = False

    def received(self, data: bytes) -> int:
        """Takes data; returns how many of its bytes belong to this request."""
        if self.error:
            return len(data)
        try:
            consumed = int(super().received(data))
        except (OSError, MemoryError) as error:
            consumed = len(data)
            self.fail(bodies.no_room(error).problem)
        self._check()
        self.completed_at = time.monotonic()
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        """As waitress's, also for heads that would make it fail, take seconds, or be taken for another request."""
        if header_plus.count(b"\r\n") > HEADER_LINES:
            self.fail(Problem(431, f"the head of the request has more than {HEADER_LINES} lines"))
            return
        if not _REQUEST_LINE.match(header_plus) or _LONG_AUTHORITY.match(header_plus) or _is_costly(header_plus):
            raise waitress.parser.ParsingError("the request line is wrong, or a line is folded or mostly blanks")
        try:
            super().parse_header(header_plus)
        except ValueError as error:  # a number of 5,000 digits, the target http://[
            raise waitress.parser.ParsingError(str(error)) from None
        if "TRANSFER_ENCODING" in self.headers:  # waitress takes it out where it means something
            raise waitress.parser.ParsingError("Transfer-Encoding needs HTTP/1.1")
        if self.chunked:
            if "CONTENT_LENGTH" in self.headers:  # a proxy may have believed the other one
                raise waitress.parser.ParsingError("both Content-Length and Transfer-Encoding")
            self.body_rcv = ChunkedBody(OverflowableBuffer(self.adj.inbuf_overflow))
        if self.chunked or self.content_length > self.adj.inbuf_overflow:  # then it may go to a file
            self.adj.renew_folder()

    def _check(self) -> None:
        settings: Settings = self.adj.settings
        if self.chunked:
            self.body_bytes_received = len(self.body_rcv)  # without the bytes that frame the chunks
        if self.headers_finished and not self.error and not self._admitted:
            self._admitted = True
            headers = {"CONTENT_LENGTH": "0", **self.headers} if self.chunked else self.headers
            self.refused = problems.refuse(self.command, self.path, headers, settings)
            if self.command == "POST":
                self.refused = self.refused or problems.refuse_options(self.query, settings)
            ends_here = self.completed and ("CONTENT_LENGTH" in headers or self.command != "POST")
            if self.refused and not ends_here:  # if it does, the application answers, and keeps the connection
                self.fail(self.refused)
        elif self.chunked and not self.error and self.body_bytes_received > settings.max_body_bytes:
            self.fail(problems.too_large(settings.max_body_bytes))
        if self.completed:
            self.expect_continue = False  # or waitress would go on reading

    def fail(self, problem: Problem) -> None:
        """Ends the request: it is answered with the problem, and its connection is closed."""
        self.error, self.completed, self.expect_continue = problem, True, False

    @property
    def begun(self) -> bool:
        """Whether a part of the request has come."""
        return bool(self.header_plus) or self.headers_finished

    def is_late(self, seconds: float) -> bool:
        """Whether a part of the request has come, and the rest takes longer than a client should need."""
        return self.begun and is_slow(self.began, self.body_bytes_received, seconds)


def _is_costly(head: bytes) -> bool:
    """Whether waitress's patterns would take seconds to refuse a head (20 s for 30 KB of blanks).

    They do for long runs of blanks, which folded lines become; HTTP lets servers refuse folded lines.
    """
    flat = head.replace(b"\t", b" ")
    return b" " * 64 in flat or b"\n " in flat


class Ahead:
    """Keeps the bytes that came after a request that is not answered yet; they are parsed once it is.

    Parsed at once, requests that come in one piece make all other connections wait: half a second for a hundred clients
    that send forty small requests each.
    """

    expect_continue = headers_finished = completed = begun = False

    def __init__(self) -> None:
        self.data = b""

    def received(self, data: bytes) -> int:
        """Takes all."""
        self.data += data
        return len(data)

    def is_late(self, seconds: float) -> bool:
        """No: the client waits for the server."""
        return False


def is_slow(began: float, done: int, seconds: float) -> bool:
    """Whether done bytes are too few for the time since began (monotonic). seconds: what is granted before any byte."""
    return time.monotonic() - began > seconds + done / _SLOWEST


class ChunkedBody:
    """Decodes a chunked body for waitress's parser, whose own decoder has no bounds and takes microseconds a byte.

    buffer: gets the body's bytes. completed: whether body and trailer are here. error: why the body is refused, or
    None. The trailer is ignored.
    """

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer
        self._rest = b""  # of a control line, a line's end or a trailer that has not come whole
        self._left = 0  # bytes of the chunk that are still to come
        self._in_chunk = self._in_trailer = self.completed = False
        self.error: Any = None
        self._bytes = self._framing = 0

    def __len__(self) -> int:
        return self._bytes

    def getfile(self) -> Any:
        """The body as a file."""
        return self._buffer.getfile()

    def getbuf(self) -> Any:
        """The buffer that was given."""
        return self._buffer

    def received(self, data: bytes) -> int:
        """Takes data; returns how many of its bytes belong to the body."""
        before = len(self._rest)
        try:
            end = self._take(self._rest + data)
        except _FramingError as error:
            self.error = BadRequest(str(error))
            return len(data)
        return end - before

    def _take(self, text: bytes) -> int:
        """Decodes text; returns the index where the body ends in it, or its length."""
        at, pieces = 0, []
        while at < len(text) and not self.completed:
            if self._left:
                piece = text[at : at + self._left]
                pieces.append(piece)
                self._left -= len(piece)
                self._bytes += len(piece)
                at += len(piece)
            elif (after := self._control(text, at)) > at:
                self._add_framing(after - at)
                at = after
            else:
                break
        end = at if self.completed else len(text)
        self._rest = text[at:end]
        self._keep(b"".join(pieces))
        return end

    def _keep(self, body: bytes) -> None:
        if body:
            self._buffer.append(body)
        if len(self._rest) > (_TRAILER if self._in_trailer else _CONTROL_LINE):
            raise _FramingError("a line or trailer of a chunk is too long")

    def _add_framing(self, count: int) -> None:
        self._framing += count
        if self._framing > _FRAMING + _FRAMING_A_BYTE * self._bytes:
            raise _FramingError("the chunks have too much framing for their bytes")

    def _control(self, text: bytes, at: int) -> int:
        """Reads what stands between chunks; returns the index after it in text, or at if it has not come whole."""
        if self._in_trailer:
            return self._trailer(text, at)
        if self._in_chunk:
            return self._line_end(text, at)
        line = _CONTROL.match(text, at)
        if line is None:
            if text.find(b"\r\n", at) >= 0:
                raise _FramingError("the size of a chunk is not a hexadecimal number")
            return at
        if line[2] and not CHUNK_EXT_RE.match(line[2]):
            raise _FramingError("an extension of a chunk is malformed")
        self._left = int(line[1], 16)
        self._in_chunk, self._in_trailer = self._left > 0, self._left == 0
        return line.end()

    def _line_end(self, text: bytes, at: int) -> int:
        if text.startswith(b"\r\n", at):
            self._in_chunk = False
            return at + 2
        if text[at:] != b"\r":
            raise _FramingError("a chunk is longer than its size says")
        return at

    def _trailer(self, text: bytes, at: int) -> int:
        if text.startswith(b"\r\n", at):
            self.completed = True
            return at + 2
        end = text.find(b"\r\n\r\n", at)
        if end - at > _TRAILER:
            raise _FramingError("the trailer is too long")
        self.completed = end >= 0
        return end + 4 if self.completed else at


class _FramingError(Exception):
    """The framing of chunks is malformed, or too large."""
