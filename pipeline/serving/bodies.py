"""Copies a request's body to a file, decompressed; never whole in memory, and never more than the limit."""

import errno
import io
import logging
import os
from pathlib import Path
from typing import Any, BinaryIO, cast

from pipeline.errors import one_line
from pipeline.serving.problems import ProblemError
from pipeline.storage.compression import MAGIC_BYTES, Codec, DamagedError, codec_of_content

_log = logging.getLogger(__name__)
_COPY_BYTES = 1024 * 1024
_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def spool(stream: BinaryIO, length: int, path: Path, limit: int, sent: Codec | None) -> None:
    """Puts a body of length bytes at path, decompressed. A body that is in a file already is linked, not copied.

    limit: most bytes of the file. sent: the compression that Content-Encoding names; a body that is a compressed file
    besides is decompressed too. Raises:
      ProblemError: 400 the body breaks off, is not in its encoding, or holds nothing compressed; 413 the file would
      exceed the limit; 507 the disk is full; 503 memory or open files are short.
    """
    if sent and not length:
        raise ProblemError(400, f"the body is empty, not even the header of {sent.name}")
    if not sent and length <= limit and _link(stream, length, path):
        if not _is_compressed(path):
            return
        path.unlink()
    source = _Body(stream, length)
    codec, copied = _unpack(source, sent, path, limit)
    if source.left:
        raise ProblemError(400, f"the body breaks off: {source.left} bytes are missing")
    if codec and not copied:  # what a client's pipe makes of an input that failed
        raise ProblemError(400, f"the body is {codec.name} of nothing")


def _unpack(source: "_Body", sent: Codec | None, path: Path, limit: int) -> tuple[Codec | None, int]:
    """Writes a body decompressed to path; returns its compression, if any, and how many bytes were written."""
    try:
        with open(path, "wb") as target:
            plain, codec = _plain(cast(BinaryIO, source), sent)
            return codec, _copy(plain, target, limit)
    except (EOFError, DamagedError) as error:
        raise ProblemError(400, f"the body is {f'not {sent.name}' if sent else 'damaged'}: {error}") from None
    except OSError as error:
        raise no_room(error) from None


def _is_compressed(path: Path) -> bool:
    with open(path, "rb") as body:
        return codec_of_content(body.read(MAGIC_BYTES)) is not None


def _plain(source: BinaryIO, sent: Codec | None) -> tuple[BinaryIO, Codec | None]:
    """A stream of a body decompressed, and its compression: that of its encoding, of the file sent, or None."""
    file = _Peeked(sent.open(source) if sent else source)
    codec = codec_of_content(file.peek())
    if codec is None:
        return cast(BinaryIO, file), sent
    plain = _Peeked(codec.open(cast(BinaryIO, file)))
    if codec_of_content(plain.peek()):
        raise ProblemError(400, "the body is compressed more than once")
    return cast(BinaryIO, plain), codec


class _Peeked(io.RawIOBase):
    """A stream whose first bytes can be looked at before they are read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._ahead = stream, b""

    def peek(self) -> bytes:
        """The first MAGIC_BYTES."""
        while len(self._ahead) < MAGIC_BYTES and (data := self._stream.read(MAGIC_BYTES - len(self._ahead))):
            self._ahead += data
        return self._ahead

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        data = self._ahead[: len(target)] or self._stream.read(len(target))
        self._ahead = self._ahead[len(target) :]
        target[: len(data)] = data
        return len(data)


def _link(stream: BinaryIO, length: int, path: Path) -> bool:
    """Links path to the nameless file that holds just the body, on Linux; False where there is no such file."""
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


def no_room(error: OSError | MemoryError) -> ProblemError:
    """The problem for an error of files or memory: 507 where the disk is full, else 503, since it may pass."""
    if isinstance(error, MemoryError) or error.errno in _SHORT:
        return ProblemError(503, "the server is short of memory or files", Retry_After="5")
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ProblemError(507, "the server has no room on its disk", Retry_After="60")
    _log.error("a request's files: %s", one_line(error))
    return ProblemError(503, "the server cannot use its folder for temporary files", Retry_After="5")


def shortage(error: BaseException | None) -> ProblemError | None:
    """503 where an error, or one that caused it, is a lack of memory or open files; else None."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SHORT):
            return no_room(error)
        error = error.__cause__ or error.__context__
    return None


class _Body:
    """Reads a request's body up to its declared length: WSGI forbids reading further."""

    closed = False  # Arrow asks, and closes

    def __init__(self, stream: BinaryIO, length: int) -> None:
        self._stream = stream
        self.left = length

    def read(self, count: int) -> bytes:
        """Up to count bytes; fewer only at the end."""
        data = self._stream.read(min(count, self.left)) if self.left else b""
        self.left -= len(data)
        return data

    def close(self) -> None:
        """Leaves the stream open: it is the server's."""


def _copy(source: Any, target: BinaryIO, limit: int) -> int:
    """Copies all of source; returns how many bytes. ProblemError 413 beyond limit."""
    copied = 0
    while data := source.read(_COPY_BYTES):
        copied += len(data)
        if copied > limit:
            raise ProblemError(413, f"the body has more than {limit} bytes after decompression")
        target.write(data)
    return copied
