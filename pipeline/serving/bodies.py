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
from pipeline.serving.telemetry import Entry
from pipeline.storage.compression import Codec, DamagedError, codec_of_content

_COPY_BYTES = 1024 * 1024


@contextlib.contextmanager
def spooled_body(environ: Mapping[str, Any], folder: Path, limit: int, entry: Entry) -> Iterator[Path]:
    """Copies the body of an accepted request to a temporary file, decompressed.

    The file is removed at the end unless it was moved.

    Args:
      environ: WSGI environment of the request.
      folder: folder for the file; created if missing.
      limit: maximum bytes, as sent and decompressed.
      entry: gets the number of bytes received, also after a failure.

    Yields:
      The path of the file.

    Raises:
      ProblemError: 400 the body is incomplete, not in its encoding, or empty after decompression; 413 it exceeds the
        limit.
      OSError: the file cannot be written.
    """
    folder.mkdir(0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix="body-", dir=folder)
    body = _Body(environ["wsgi.input"], admission.content_length(environ), limit)
    try:
        _copy_decompressed(io.BufferedReader(body), admission.codec(environ), descriptor, limit)
        yield Path(name)
    finally:
        entry.bytes = body.received
        Path(name).unlink(missing_ok=True)


class _Body(io.RawIOBase):
    """A body as sent, up to its length, beyond which WSGI forbids reading; chunked bodies have none."""

    def __init__(self, stream: BinaryIO, length: int | None, limit: int) -> None:
        self._stream, self._length, self._limit = stream, length, limit
        self.received = 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        """Fills the target; less only at the end."""
        left = self._limit + 1 - self.received if self._length is None else self._length - self.received
        data = self._receive(min(len(target), left)) if left else b""
        self.received += len(data)
        if self.received > self._limit:
            raise too_large(self._limit)
        if len(data) < min(len(target), left) and self._length is not None:
            raise ProblemError(400, f"the body is incomplete: received {self.received} of {self._length} bytes")
        target[: len(data)] = data
        return len(data)

    def _receive(self, count: int) -> bytes:
        try:
            return self._stream.read(count)
        except MemoryError:
            raise
        except Exception as error:  # each server has its own classes for malformed chunks and closed connections
            raise ProblemError(400, f"the body is incomplete or malformed: {one_line(error)[:100]}") from None


def _copy_decompressed(body: io.BufferedReader, sent: Codec | None, descriptor: int, limit: int) -> None:
    """Copies to a descriptor: ext4 flushes a file on close if it was truncated by opening it by name."""
    try:
        with open(descriptor, "wb") as target:
            if sent and not body.peek():
                raise ProblemError(400, f"empty body with Content-Encoding: {sent.name}")
            plain, codec = _decompressed(body, sent)
            copied = _copy(plain, target, limit)
    except (EOFError, DamagedError) as error:
        raise ProblemError(400, f"the body is {f'not valid {sent.name}' if sent else 'damaged'}: {error}") from None
    while body.read(_COPY_BYTES):  # data after the compressed stream
        pass
    if codec and not copied:  # as sent by a client whose input failed
        raise ProblemError(400, f"the {codec.name} body is empty after decompression")


def _decompressed(body: io.BufferedReader, sent: Codec | None) -> tuple[io.BufferedReader, Codec | None]:
    """Returns the decompressed body, and its compression: that of its content, else its encoding, or None."""
    file = _open(sent, body) if sent else body
    codec = codec_of_content(file.peek())
    if codec is None:
        return file, sent
    plain = _open(codec, file)
    if codec_of_content(plain.peek()):
        raise ProblemError(400, "the body is compressed more than once")
    return plain, codec


def _open(codec: Codec, stream: io.BufferedReader) -> io.BufferedReader:
    return io.BufferedReader(cast(io.RawIOBase, codec.open(stream)))


def _copy(source: io.BufferedReader, target: BinaryIO, limit: int) -> int:
    """Copies a stream and returns its size; raises ProblemError 413 beyond the limit."""
    copied = 0
    while data := source.read(_COPY_BYTES):
        copied += len(data)
        if copied > limit:
            raise ProblemError(413, f"the body has more than {limit} bytes after decompression")
        target.write(data)
    return copied
