"""Reading requests within bounds, in process."""

import io
import itertools
from typing import Any
from unittest import mock

import pytest
import waitress.adjustments
import waitress.parser
from hypothesis import given
from hypothesis import strategies as st
from waitress.buffers import OverflowableBuffer

from pipeline.serving.parsing import ChunkedBody, Parser
from pipeline.serving.problems import Problem
from pipeline.serving.settings import Settings


def adjustments() -> Any:
    adj = waitress.adjustments.Adjustments()
    adj.settings = Settings(max_body_bytes=100_000)
    adj.renew_folder = lambda: None
    return adj


def feed(body: ChunkedBody, data: bytes, cuts: list[int]) -> int:
    """Gives data in pieces; returns the bytes that were taken."""
    taken, places = 0, sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(places):
        if body.completed or body.error:
            break
        taken += body.received(data[start:end])
    return taken


CUTS = st.lists(st.integers(0, 10_000), max_size=8)
EXTENSION = st.sampled_from([b"", b";a", b";a=b", b';a="x y"'])
TRAILER = st.sampled_from([b"", b"X: y\r\n", b"X: y\r\nZ:\r\n"])


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=50), EXTENSION), max_size=8), TRAILER, st.binary(), CUTS)
def test_chunks(chunks: list[tuple[bytes, bytes]], trailer: bytes, behind: bytes, cuts: list[int]) -> None:
    """However they are cut, and whatever comes behind them."""
    framed = b"".join(b"%x%s\r\n%s\r\n" % (len(data), extension, data) for data, extension in chunks)
    framed += b"0\r\n" + trailer + b"\r\n"
    body = ChunkedBody(OverflowableBuffer(100))
    assert feed(body, framed + behind, cuts) == len(framed)
    assert body.completed
    assert body.error is None
    expected = b"".join(data for data, _ in chunks)
    assert len(body) == len(expected)
    assert body.getfile().read() == expected


BAD_CHUNKS = [b"\r\n", b"g\r\n", b"-1\r\n", b" 1\r\n", b"1 \r\n", b"1;\x00\r\n", b"1\r\nab\r\n", b"1\r\na\n\n", b"1\n"]


@pytest.mark.parametrize("data", [*BAD_CHUNKS, b"1" * 17 + b"\r\n"])
@given(CUTS)
def test_bad_chunks(data: bytes, cuts: list[int]) -> None:
    body = ChunkedBody(OverflowableBuffer(100))
    feed(body, data + b"\r\n" * 2000, cuts)
    assert body.error is not None
    assert not body.completed


LINE = st.sampled_from([
    b"GET / HTTP/1.1", b"POST / HTTP/1.0", b"POST //[ HTTP/1.1", b"GET http://[::1 HTTP/1.1",
    b"GET http://\xe2\x84\x80 HTTP/1.1",
    b"Content-Length: 1", b"Content-Length: " + b"1" * 5000, b"Content-Length: -1", b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: chunked, chunked", b"Expect: 100-continue", b"Connection: close", b" folded", b"", b"\x00",
])  # fmt: skip


@given(st.lists(st.one_of(LINE, st.binary(max_size=40)), max_size=8).map(b"\r\n".join), st.binary(max_size=40), CUTS)
def test_whatever_comes(head: bytes, body: bytes, cuts: list[int]) -> None:
    """The parser never raises, takes no more than there is, and does not go on once it has refused."""
    data, places = head + b"\r\n\r\n" + body, [0]
    places += sorted({cut % (len(head) + 1) for cut in cuts})
    parser = Parser(adjustments())
    for start, end in zip(places, [*places[1:], len(data)], strict=True):
        if not parser.completed:
            assert 0 <= parser.received(data[start:end]) <= end - start
    assert not (parser.completed and parser.expect_continue)
    if isinstance(parser.error, Problem):
        assert parser.completed


def test_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError

    parser = Parser(adjustments())
    parser.received(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
    monkeypatch.setattr(OverflowableBuffer, "append", fail)
    assert parser.received(b"12345") == 5
    assert parser.error.status == 503


def test_files_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> io.BytesIO:
        raise OSError(24, "Too many open files")

    parser = Parser(adjustments())
    parser.adj.inbuf_overflow = 10_000
    parser.received(b"POST / HTTP/1.1\r\nContent-Length: 50000\r\n\r\n")
    monkeypatch.setattr("tempfile.TemporaryFile", fail)
    parser.received(b" " * 50_000)
    assert parser.error.status == 503


@pytest.mark.parametrize(
    "target", [b"http://" + b"1" * 30_000, b"a://" + b"1" * 300 + b"/", b"x://" + b"a" * 300 + b"?q"]
)
def test_an_authority_longer_than_any_name_is_refused_at_once(target: bytes) -> None:
    def patterns_of_waitress(line: bytes) -> None:
        raise AssertionError(line)

    parser = Parser(adjustments())
    with mock.patch.object(waitress.parser, "crack_first_line", patterns_of_waitress):
        parser.received(b"GET " + target + b" HTTP/1.1\r\n\r\n")
    assert parser.error.code == 400
    long_path = Parser(adjustments())
    long_path.received(b"GET http://x/" + b"1" * 1000 + b" HTTP/1.1\r\n\r\n")
    assert long_path.path == "/" + "1" * 1000
