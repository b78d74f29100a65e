"""Checks the head of a request, and copies its body to a file, decompressed, in constant memory and up to a limit.

The head is checked before the body is read: path, method, Host, origin, token, encoding, length, query.
"""

import contextlib
import hmac
import io
import ipaddress
import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from pipeline.errors import UsageError, ZoneError, one_line
from pipeline.model.settings import ReportSettings
from pipeline.serving import Settings
from pipeline.serving.page_files import FILES
from pipeline.serving.problems import ProblemError, too_large
from pipeline.serving.telemetry import Entry
from pipeline.storage.compression import GZIP, ZSTD, Codec, DamagedError, codec_of_content

_ALLOWED = dict.fromkeys((*FILES, "/reports.csv", "/healthz", "/metrics"), "GET, HEAD") | {"/": "GET, HEAD, POST"}
"""All paths, with their methods for the `Allow` header."""

_KINDS = {"/healthz": "health", "/metrics": "metrics"}
_ENCODINGS = {"": None, "identity": None, "gzip": GZIP, "x-gzip": GZIP, "zstd": ZSTD}
_COPY_BYTES = 1024 * 1024


def check_head(environ: Mapping[str, Any], settings: Settings) -> None:
    """Raises ProblemError for a request that is refused."""
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if settings.token is None and not settings.insecure and not _is_own_name(environ.get("HTTP_HOST"), settings.host):
        raise ProblemError(421, "without a token, only requests to localhost are accepted")
    if path not in _ALLOWED:
        raise ProblemError(404, "not found; POST events to /")
    if method not in _ALLOWED[path].split(", "):
        raise ProblemError(405, "method not allowed; POST events to /", Allow=_ALLOWED[path])
    if settings.token and (method == "POST" or path in ("/metrics", "/reports.csv")):
        _check_token(environ, settings.token)
    if method == "POST":
        _check_post(environ, settings)


def request_kind(method: str, path: str) -> str:
    """Returns the kind of a request for log and metrics."""
    if path == "/":
        return "report" if method == "POST" else "page"
    return _KINDS.get(path, "file" if path in _ALLOWED else "other")


def _is_own_name(host: str | None, listening: str) -> bool:
    """Whether a Host header names this machine. Otherwise the request may come from a page by DNS rebinding.

    HTTP/1.0 clients send none, but browsers always do.
    """
    if host is None:
        return True
    name = host.lower().rpartition("]")[0].lstrip("[") if host.startswith("[") else host.lower().partition(":")[0]
    if name in ("localhost", listening.lower()) or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _check_token(environ: Mapping[str, Any], token: str) -> None:
    scheme, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise ProblemError(401, "a bearer token is required", WWW_Authenticate='Bearer realm="report"')


def _check_post(environ: Mapping[str, Any], settings: Settings) -> None:
    """Checks a POST. With a token, cross-site requests are harmless: browsers do not add tokens."""
    if settings.token is None and _is_cross_site(environ):
        raise ProblemError(403, "cross-site requests are refused without a token")
    if environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() == "multipart/form-data":
        address = f"{environ['wsgi.url_scheme']}://{environ.get('HTTP_HOST', 'HOST')}/"
        raise ProblemError(
            415, f"form uploads are not supported; send the file itself: curl --data-binary @FILE {address}"
        )
    if _encoding(environ) not in _ENCODINGS:
        raise ProblemError(415, "Content-Encoding must be gzip, zstd or absent", Accept_Encoding="gzip, zstd")
    _check_length(environ, settings.max_body_bytes)


def _is_cross_site(environ: Mapping[str, Any]) -> bool:
    site, origin = environ.get("HTTP_SEC_FETCH_SITE", ""), environ.get("HTTP_ORIGIN", "")
    if site:
        return site not in ("same-origin", "none")
    return bool(origin) and origin.partition("://")[2].lower() != environ.get("HTTP_HOST", "").lower()


def _check_length(environ: Mapping[str, Any], limit: int) -> None:
    text = environ.get("CONTENT_LENGTH") or "0"
    if not (text.isascii() and text.isdecimal()):
        raise ProblemError(400, "Content-Length is not a number")
    length = _content_length(environ)
    if length is None and "chunked" not in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        raise ProblemError(400, "length required: send Content-Length or use chunked encoding")
    if length is not None and length > limit:
        raise too_large(limit)


def _content_length(environ: Mapping[str, Any]) -> int | None:
    return int(environ["CONTENT_LENGTH"]) if environ.get("CONTENT_LENGTH") else None


def _encoding(environ: Mapping[str, Any]) -> str:
    return str(environ.get("HTTP_CONTENT_ENCODING", "")).strip().lower()


def report_settings(settings: ReportSettings, query: str) -> ReportSettings:
    """Returns the settings, overridden by the query string of a request.

    Raises:
      UsageError: an unknown or repeated parameter, or an invalid value.
    """
    values: dict[str, str] = {}
    for name, value in urllib.parse.parse_qsl(query, keep_blank_values=True):
        if name in values:
            raise UsageError(f"duplicate parameter {name[:40]!r}")
        if name == "utc_offset" and value.startswith(" "):
            raise UsageError(f"utc_offset=+{value[1:40]}: encode + as %2B in URLs")
        values[name] = value
    try:
        return settings.replace(values) if values else settings
    except ZoneError as error:
        raise error.spelled(lambda name, value: f"{name}={urllib.parse.quote(value, safe='/:')}") from None


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
    body = _Body(environ["wsgi.input"], _content_length(environ), limit)
    try:
        _copy_decompressed(io.BufferedReader(body), _ENCODINGS[_encoding(environ)], descriptor, limit)
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
