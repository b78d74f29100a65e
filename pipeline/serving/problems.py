"""Every answer that is not what was asked for: problem documents by RFC 9457, without internals.

What is refused by the head of a request alone is told here: by path, method, token, encoding, length, options.
"""

import contextlib
import dataclasses
import hmac
import http
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, RejectsError, UsageError
from pipeline.formats.decoding import MANY_REJECTS
from pipeline.formats.places import places
from pipeline.model.events import Reject
from pipeline.model.tally import SHOWN, Tally, merge_tallies, tally_batch
from pipeline.serving.page_files import PAGE_FILES
from pipeline.serving.settings import Settings, from_query
from pipeline.storage.compression import GZIP, ZSTD, Codec
from pipeline.storage.files import SIZE_UNKNOWN, InputFile
from pipeline.transforms.read import open_file

SAFE_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
"""Headers of every answer."""

CONTENT_TYPE = "application/problem+json"

_READ = "GET, HEAD, OPTIONS"
_READABLE = ("/openapi.json", *PAGE_FILES, "/healthz", "/metrics")
ALLOWED = {"/": "GET, HEAD, POST, OPTIONS", **dict.fromkeys(_READABLE, _READ)}
"""Every path that is served, with its methods as `Allow` lists them."""

_KINDS = {"/healthz": "health", "/metrics": "metrics"}
_ENCODINGS = {"": None, "identity": None, "gzip": GZIP, "x-gzip": GZIP, "zstd": ZSTD}


@dataclasses.dataclass(frozen=True)
class Problem:
    """A problem document. status: HTTP's. detail: what to do. members: more of the document. headers: of the answer."""

    status: int
    detail: str
    members: dict[str, Any] = dataclasses.field(default_factory=dict)
    headers: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def title(self) -> str:
        """The status in words."""
        return http.HTTPStatus(self.status).phrase

    @property
    def body(self) -> bytes:
        """The document as JSON."""
        head = {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail}
        return json.dumps({**head, **self.members}).encode()

    @property
    def all_headers(self) -> dict[str, str]:
        """The problem's own headers, with those that every problem has."""
        return {"Content-Type": CONTENT_TYPE, **SAFE_HEADERS, **self.headers}

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        """Status line, headers and body, as waitress asks for them. ident: the server's name; unused."""
        return f"{self.status} {self.title}", list(self.all_headers.items()), self.body


class ProblemError(Exception):
    """Raised to answer a request with a problem. headers: Retry_After for Retry-After."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.problem = Problem(status, detail, headers={k.replace("_", "-"): v for k, v in headers.items()})


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
        from_query(settings.report, query)
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


def reject_problem(error: RejectsError, body: Path) -> Problem:
    """The problem (400) of a body with rejects: the first ones, and how many. body: decompressed, to number lines."""
    tally = error.tally or _tally(body)
    if not tally.rejected:
        return Problem(400, str(error))
    first: tuple[Reject, ...] = tally.first
    with open(body, "rb") as stream:
        lines = places(stream, [reject.offset or 0 for reject in first if reject.index is None])
        rejects = [_shown(reject, *_place(reject, lines)) for reject in first]
    least = "at least " if tally.partial else ""
    detail = f"{least}{tally.rejected} of {tally.read} records are invalid"
    members = {"rejected": tally.rejected, "read": tally.read, "complete": not tally.partial, "rejects": rejects}
    return Problem(400, detail, members)


def _tally(body: Path) -> Tally:
    """A body's tally, made anew: from a runner in another process only a message comes back. Empty if that fails."""
    tally = Tally()
    with contextlib.suppress(PipelineError), open_file(InputFile(str(body), SIZE_UNKNOWN, body.name)) as reader:
        for block in itertools.chain.from_iterable(map(reader.read_part, range(reader.parts))):
            tally = merge_tallies([tally, tally_batch(block.decode(False, SHOWN))])
            if tally.rejected >= MANY_REJECTS:
                return tally._replace(partial=True)
    return tally


def _place(reject: Reject, lines: Iterator[tuple[int, int]]) -> tuple[int | None, int | None]:
    return (None, reject.index) if reject.index is not None else next(lines, (None, None))


def _shown(reject: Reject, line: int | None, index: int | None) -> dict[str, Any]:
    return {"line": line, "index": index, "offset": reject.offset, "reason": reject.reason, "raw": reject.raw}
