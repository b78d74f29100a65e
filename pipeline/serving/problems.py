"""Problem documents (RFC 9457): the answers to all that is refused or fails, without internals."""

import contextlib
import dataclasses
import http
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, RejectsError
from pipeline.formats.decoding import MANY_REJECTS
from pipeline.formats.places import places
from pipeline.model.events import Reject
from pipeline.model.tally import SHOWN, Tally, merge_tallies, tally_batch
from pipeline.storage.files import SIZE_UNKNOWN, InputFile
from pipeline.transforms.read import open_file

SAFE_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
"""Headers of every answer."""

CONTENT_TYPE = "application/problem+json"


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
