"""Copies the body of a request to a file, decompressed, in constant memory and up to a size limit."""

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
    """Copies the body of an accepted request to a temporary file, decompressed.

    The file is removed at the end unless it was moved.

    Args:
      environ: WSGI environment of the request.
      folder: folder for the file; created if missing.
      limit: maximum bytes, as sent and decompressed.

    Yields:
      The path of the file, and the number of bytes sent.

    Raises:
      ProblemError: 400 the body is incomplete, not in its encoding, or empty after decompression; 413 it exceeds the
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
    """A body as sent, up to its length, beyond which WSGI forbids reading; chunked bodies have none."""

    closed = False  # Arrow checks it, and calls close()

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
        except Exception as error:  # each server has its own classes for malformed chunks and closed connections
            raise ProblemError(400, f"the body is incomplete or malformed: {one_line(error)[:100]}") from None

    def close(self) -> None:
        """Leaves the stream open, since the server owns it."""


def _copy_decompressed(source: _Body, sent: Codec | None, descriptor: int, limit: int) -> None:
    """Copies to a descriptor: ext4 flushes a file on close if it was truncated by opening it by name."""
    try:
        with open(descriptor, "wb") as target:
            if sent and not (first := source.read(1)):
                raise ProblemError(400, f"empty body with Content-Encoding: {sent.name}")
            stream = cast(BinaryIO, _Peekable(cast(BinaryIO, source), first if sent else b""))
            plain, codec = _decompressed(stream, sent)
            copied = _copy(plain, target, limit)
    except (EOFError, DamagedError) as error:
        raise ProblemError(400, f"the body is {f'not valid {sent.name}' if sent else 'damaged'}: {error}") from None
    while source.read(_COPY_BYTES):  # data after the compressed stream
        pass
    if codec and not copied:  # as sent by a client whose input failed
        raise ProblemError(400, f"the {codec.name} body is empty after decompression")


def _decompressed(source: BinaryIO, sent: Codec | None) -> tuple[BinaryIO, Codec | None]:
    """Returns the decompressed body, and its compression: that of its content, else its encoding, or None."""
    file = _Peekable(sent.open(source) if sent else source)
    codec = codec_of_content(file.peek())
    if codec is None:
        return cast(BinaryIO, file), sent
    plain = _Peekable(codec.open(cast(BinaryIO, file)))
    if codec_of_content(plain.peek()):
        raise ProblemError(400, "the body is compressed more than once")
    return cast(BinaryIO, plain), codec


class _Peekable(io.RawIOBase):
    """A stream whose first bytes can be peeked."""

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
    """Copies a stream and returns its size; raises ProblemError 413 beyond the limit."""
    copied = 0
    while data := source.read(_COPY_BYTES):
        copied += len(data)
        if copied > limit:
            raise ProblemError(413, f"the body has more than {limit} bytes after decompression")
        target.write(data)
    return copied
