"""Refuses requests by their head alone, before the body is read: path, method, token, encoding, length, options."""

import hmac
from collections.abc import Mapping

from pipeline.errors import UsageError
from pipeline.serving.problems import Problem
from pipeline.serving.settings import Settings
from pipeline.storage.compression import GZIP, ZSTD, Codec

_READ = "GET, HEAD, OPTIONS"
_READABLE = ("/openapi.json", "/app.js", "/chart.js", "/report.js", "/style.css", "/healthz", "/metrics")
ALLOWED = {"/": "GET, HEAD, POST, OPTIONS", **dict.fromkeys(_READABLE, _READ)}
"""Every path that is served, with its methods as `Allow` lists them."""

_KINDS = {"/healthz": "health", "/metrics": "metrics"}
_ENCODINGS = {"": None, "identity": None, "gzip": GZIP, "x-gzip": GZIP, "zstd": ZSTD}


def refuse(method: str, path: str, headers: Mapping[str, str], settings: Settings) -> Problem | None:
    """The problem to answer a request with instead of serving it, or None. headers: by WSGI names, without HTTP_."""
    if path not in ALLOWED:
        return Problem(404, "there is nothing here; POST events to /")
    if method not in ALLOWED[path].split(", "):
        return Problem(405, "POST events to /", headers={"Allow": ALLOWED[path]})
    if method != "POST":
        return _unauthorized(headers, settings.token) if path == "/metrics" and method != "OPTIONS" else None
    return _unauthorized(headers, settings.token) or _unacceptable(headers, settings.max_body_bytes)


def kind(method: str, path: str) -> str:
    """What a request is for, as log and metrics name it: report, page, file (of the page), health, metrics, other."""
    if path == "/":
        return "report" if method == "POST" else "page"
    return _KINDS.get(path, "file" if path in ALLOWED else "other")


def _unauthorized(headers: Mapping[str, str], token: str | None) -> Problem | None:
    if token is None:
        return None
    scheme, _, given = headers.get("AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode()):
        return None
    return Problem(401, "a bearer token is needed", headers={"WWW-Authenticate": 'Bearer realm="report"'})


def _unacceptable(headers: Mapping[str, str], limit: int) -> Problem | None:
    if _encoding(headers) not in _ENCODINGS:
        return Problem(415, "Content-Encoding must be gzip, zstd or absent", headers={"Accept-Encoding": "gzip, zstd"})
    length = headers.get("CONTENT_LENGTH")
    if not length:
        return Problem(400, "the length of the body is not told: give a Content-Length, or send it chunked by HTTP/1.1")
    if not (length.isascii() and length.isdecimal()):
        return Problem(400, "Content-Length is not a number")
    if len(length) > 18 or int(length) > limit:
        return too_large(limit)
    return None


def refuse_options(query: str, settings: Settings) -> Problem | None:
    """The problem to answer a POST with whose query string has unknown or bad parameters, or None."""
    try:
        settings.report.asked(query)
    except UsageError as error:
        return Problem(400, str(error))
    return None


def codec(headers: Mapping[str, str]) -> Codec | None:
    """The compression that Content-Encoding names, or None. For requests that were not refused only."""
    return _ENCODINGS[_encoding(headers)]


def _encoding(headers: Mapping[str, str]) -> str:
    return headers.get("CONTENT_ENCODING", "").strip().lower()


def too_large(limit: int) -> Problem:
    """The problem (413) of a body of more than limit bytes."""
    return Problem(413, f"the body has more than {limit} bytes")
