"""Checks the head of a request before its body is read: path, method, Host, origin, token, encoding, length, query."""

import hmac
import ipaddress
import urllib.parse
from collections.abc import Mapping
from typing import Any

from pipeline.errors import UsageError, ZoneError
from pipeline.model.settings import ReportSettings
from pipeline.serving import Settings
from pipeline.serving.page_files import FILES
from pipeline.serving.problems import ProblemError, too_large
from pipeline.storage.compression import GZIP, ZSTD, Codec

ALLOWED = dict.fromkeys((*FILES, "/reports.csv", "/healthz", "/metrics"), "GET, HEAD") | {"/": "GET, HEAD, POST"}
"""All paths, with their methods for the `Allow` header."""

_KINDS = {"/healthz": "health", "/metrics": "metrics"}
_ENCODINGS = {"": None, "identity": None, "gzip": GZIP, "x-gzip": GZIP, "zstd": ZSTD}


def check(environ: Mapping[str, Any], settings: Settings) -> None:
    """Raises ProblemError for a request that is refused."""
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if settings.token is None and not settings.insecure and not _is_own_name(environ.get("HTTP_HOST"), settings.host):
        raise ProblemError(421, "without a token, only requests to localhost are accepted")
    if path not in ALLOWED:
        raise ProblemError(404, "not found; POST events to /")
    if method not in ALLOWED[path].split(", "):
        raise ProblemError(405, "method not allowed; POST events to /", Allow=ALLOWED[path])
    if settings.token and (method == "POST" or path in ("/metrics", "/reports.csv")):
        _check_token(environ, settings.token)
    if method == "POST":
        _check_post(environ, settings)


def kind(method: str, path: str) -> str:
    """Returns the kind of a request for log and metrics."""
    if path == "/":
        return "report" if method == "POST" else "page"
    return _KINDS.get(path, "file" if path in ALLOWED else "other")


def codec(environ: Mapping[str, Any]) -> Codec | None:
    """Returns the compression in Content-Encoding, or None; for accepted requests."""
    return _ENCODINGS[_encoding(environ)]


def content_length(environ: Mapping[str, Any]) -> int | None:
    """Returns the Content-Length, or None."""
    return int(environ["CONTENT_LENGTH"]) if environ.get("CONTENT_LENGTH") else None


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
    length = content_length(environ)
    if length is None and "chunked" not in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        raise ProblemError(400, "length required: send Content-Length or use chunked encoding")
    if length is not None and length > limit:
        raise too_large(limit)


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
