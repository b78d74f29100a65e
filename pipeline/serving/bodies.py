"""A request's body: copied to a file, decompressed, never whole in memory and never more than the limit."""

import errno
import gzip
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.serving.problems import ProblemError

_COPY_BYTES = 1024 * 1024
_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def spool(stream: BinaryIO, length: int, path: Path, limit: int, compressed: bool) -> None:
    """Makes length bytes of a stream a file; of a body that the server put into one already, that one. limit: of bytes.

    Raises:
      ProblemError: 400 the body breaks off or is not gzip; 413 the file would exceed the limit; 507 no room for it.
    """
    if not compressed and length <= limit and _link(stream, length, path):
        return
    source = _Body(stream, length)
    try:
        with open(path, "wb") as target:
            _copy(gzip.GzipFile(fileobj=source) if compressed else source, target, limit)  # type: ignore[call-overload]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ProblemError(400, f"the body is not gzip: {error}") from None
    except OSError as error:
        raise no_room(error) or error from None
    if source.left:
        raise ProblemError(400, f"the body breaks off: {source.left} bytes are missing")


def _link(stream: BinaryIO, length: int, path: Path) -> bool:
    """Makes path lead to the nameless file that the stream reads, on Linux; whether there is one with just the body."""
    try:
        stream.flush()
        file = stream.fileno()
    except (OSError, AttributeError):  # the body is in memory
        return False
    opened = f"/proc/{os.getpid()}/fd/{file}"
    if stream.tell() or os.fstat(file).st_size != length or not os.path.exists(opened):
        return False
    os.symlink(opened, path)
    return True


def no_room(error: OSError | MemoryError) -> ProblemError | None:
    """507 where a disk is full, 503 where memory or files are short for now; None where it is another error."""
    if isinstance(error, MemoryError) or error.errno in _SHORT:
        return ProblemError(503, "the server is short of memory or files", Retry_After="5")
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return ProblemError(507, "the server has no room for the body", Retry_After="60") if full else None


class _Body:
    """Reads a request's body up to its declared length, as WSGI asks for."""

    def __init__(self, stream: BinaryIO, length: int) -> None:
        self._stream = stream
        self.left = length

    def read(self, count: int) -> bytes:
        """Up to count bytes; fewer only at the end."""
        data = self._stream.read(min(count, self.left)) if self.left else b""
        self.left -= len(data)
        return data


def _copy(source: Any, target: BinaryIO, limit: int) -> None:
    copied = 0
    while data := source.read(_COPY_BYTES):
        copied += len(data)
        if copied > limit:
            raise ProblemError(413, f"the body has more than {limit} bytes after decompression")
        target.write(data)
