"""Copies the body of a request to a file, decompressed: never whole in memory, never more than the limit."""

import contextlib
import io
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from pipeline.errors import one_line
from pipeline.serving import admission
from pipeline.serving.problems import ProblemError, too_large
from pipeline.storage.compression import MAGIC_BYTES, Codec, DamagedError, codec_of_content

_COPY_BYTES = 1024 * 1024


@contextlib.contextmanager
def spooled_body(environ: Mapping[str, Any], folder: Path, limit: int) -> Iterator[tuple[Path, int]]:
    """Copies a body that was not refused by its head to a temporary file, decompressed.

    The file is removed at the end unless it was moved away.

    Args:
      environ: the request's.
      folder: for the file; made where it is missing.
      limit: most bytes, as sent and decompressed.

    Yields:
      The path of the file, and how many bytes were sent.

    Raises:
      ProblemError: 400 the body breaks off, is not in its encoding, or holds nothing compressed; 413 it exceeds the
        limit.
      OSError: the file cannot be written.
    """
    folder.mkdir(0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix="body-", dir=folder)
    try:
        source = _Body(environ["wsgi.input"], admission.content_length(environ), limit)
        _copy_decompressed(source, admission.codec(environ), descriptor, limit)
        yield Path(name), source.received
    finally:
        Path(name).unlink(missing_ok=True)


class _Body:
    """A body as it is sent, up to its length: WSGI forbids reading further. A chunked one has no length."""

    closed = False  # Arrow looks at it, and calls close()

    def __init__(self, stream: BinaryIO, length: int | None, limit: int) -> None:
        self._stream, self._length, self._limit = stream, length, limit
        self.received = 0

    def read(self, count: int) -> bytes:
        """Returns up to count bytes; fewer only at the end."""
        left = self._limit + 1 - self.received if self._length is None else self._length - self.received
        data = self._receive(min(count, left)) if left else b""
        self.received += len(data)
        if self.received > self._limit:
            raise too_large(self._limit)
        if len(data) < min(count, left) and self._length is not None:
            raise ProblemError(400, f"the body is incomplete: {self._length - self.received} bytes are missing")
        return data

    def _receive(self, count: int) -> bytes:
        try:
            return self._stream.read(count)
        except MemoryError:
            raise
        except Exception as error:  # each server has classes of its own for malformed chunks, and closed connections
            raise ProblemError(400, f"the body is incomplete or malformed: {one_line(error)[:100]}") from None

    def close(self) -> None:
        """Leaves the stream open: it is the server's."""


def _copy_decompressed(source: _Body, sent: Codec | None, descriptor: int, limit: int) -> None:
    """Copies to a new file. Opened by name it would be truncated, and ext4 then writes to the disk at each close."""
    try:
        with open(descriptor, "wb") as target:
            if sent and not (first := source.read(1)):
                raise ProblemError(400, f"the body is empty, but its Content-Encoding is {sent.name}")
            stream = cast(BinaryIO, _Peekable(cast(BinaryIO, source), first if sent else b""))
            plain, codec = _decompressed(stream, sent)
            copied = _copy(plain, target, limit)
    except (EOFError, DamagedError) as error:
        raise ProblemError(400, f"the body is {f'not {sent.name}' if sent else 'damaged'}: {error}") from None
    while source.read(_COPY_BYTES):  # what is behind the end of compressed data is part of the body
        pass
    if codec and not copied:  # what a client's pipe makes of an input that failed
        raise ProblemError(400, f"the {codec.name} body is empty after decompression")


def _decompressed(source: BinaryIO, sent: Codec | None) -> tuple[BinaryIO, Codec | None]:
    """Returns a stream of a body, and its compression: that of the file sent, else of its encoding, or None."""
    file = _Peekable(sent.open(source) if sent else source)
    codec = codec_of_content(file.peek())
    if codec is None:
        return cast(BinaryIO, file), sent
    plain = _Peekable(codec.open(cast(BinaryIO, file)))
    if codec_of_content(plain.peek()):
        raise ProblemError(400, "the body is compressed more than once")
    return cast(BinaryIO, plain), codec


class _Peekable(io.RawIOBase):
    """A stream whose first bytes can be looked at before they are read."""

    def __init__(self, stream: BinaryIO, first: bytes = b"") -> None:
        self._stream, self._first = stream, first

    def peek(self) -> bytes:
        """Returns the first MAGIC_BYTES."""
        while len(self._first) < MAGIC_BYTES and (data := self._stream.read(MAGIC_BYTES - len(self._first))):
            self._first += data
        return self._first

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        data = self._first[: len(target)] or self._stream.read(len(target))
        self._first = self._first[len(target) :]
        target[: len(data)] = data
        return len(data)


def _copy(source: BinaryIO, target: BinaryIO, limit: int) -> int:
    """Copies a stream; returns how many bytes. ProblemError 413 beyond limit."""
    copied = 0
    while data := source.read(_COPY_BYTES):
        copied += len(data)
        if copied > limit:
            raise ProblemError(413, f"the body has more than {limit} bytes after decompression")
        target.write(data)
    return copied
