"""Every answer that is not what was asked for: problem documents by RFC 9457, without internals."""

import dataclasses
import http
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from pipeline.errors import RejectsError
from pipeline.formats.places import places
from pipeline.model.events import Reject

SAFE_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
"""On every answer."""

CONTENT_TYPE = "application/problem+json"


@dataclasses.dataclass(frozen=True)
class Problem:
    """status: of HTTP. detail: what a person can act on. members: more of the document. headers: of the answer."""

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
        """headers, and those that every problem has."""
        return {"Content-Type": CONTENT_TYPE, **SAFE_HEADERS, **self.headers}

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        """As waitress asks an error for its answer. ident: what the server calls itself; unused."""
        return f"{self.status} {self.title}", list(self.all_headers.items()), self.body


class ProblemError(Exception):
    """Ends a request with a problem."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.problem = Problem(status, detail, headers={k.replace("_", "-"): v for k, v in headers.items()})


def reject_problem(error: RejectsError, body: BinaryIO) -> Problem:
    """400 with the first rejects and how many there are. body: plain, to find the lines of JSON Lines."""
    tally = error.tally
    if tally is None:  # an engine in another process
        return Problem(400, str(error))
    first: tuple[Reject, ...] = tally.first
    lines = places(body, [reject.offset or 0 for reject in first if reject.index is None])
    rejects = [_shown(reject, *_place(reject, lines)) for reject in first]
    least = "at least " if tally.partial else ""
    detail = f"{least}{tally.rejected} of {tally.read} records are invalid"
    members = {"rejected": tally.rejected, "read": tally.read, "complete": not tally.partial, "rejects": rejects}
    return Problem(400, detail, members)


def _place(reject: Reject, lines: Iterator[tuple[int, int]]) -> tuple[int | None, int | None]:
    return (None, reject.index) if reject.index is not None else next(lines, (None, None))


def _shown(reject: Reject, line: int | None, index: int | None) -> dict[str, Any]:
    return {"line": line, "index": index, "offset": reject.offset, "reason": reject.reason, "raw": reject.raw}
