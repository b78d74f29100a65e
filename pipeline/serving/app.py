"""The WSGI application: POST / makes a report; the page and openapi.json are read once at the start."""

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import bottle

from pipeline.errors import InputError, OutputError, RejectsError
from pipeline.model.events import Reject
from pipeline.model.tally import Summary
from pipeline.serving import admission, bodies
from pipeline.serving.problems import SAFE_HEADERS, Problem, ProblemError
from pipeline.serving.settings import Settings
from pipeline.serving.slots import Slot, Slots

SUMMARY = "X-Report-Summary"
_COUNTERS = ("read", "counted", "rejected", "hours")

_ROOM = Path(__file__).resolve().parent
_FILES = {
    "/": ("page/index.html", "text/html; charset=utf-8"),
    "/app.js": ("page/app.js", "text/javascript; charset=utf-8"),
    "/style.css": ("page/style.css", "text/css; charset=utf-8"),
    "/openapi.json": ("openapi.json", "application/json"),
}
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


def make_app(settings: Settings, slots: Slots) -> bottle.Bottle:
    """The WSGI application."""
    app = bottle.Bottle()
    pages = {path: _page(name, kind) for path, (name, kind) in _FILES.items()}

    def answer(path: str) -> bottle.HTTPResponse:
        environ = bottle.request.environ
        method, headers = environ["REQUEST_METHOD"], _headers(environ)
        refused = admission.refuse(method, path, headers, settings)
        if refused:
            return _respond(refused)
        if method == "OPTIONS":
            return bottle.HTTPResponse("", 204, {"Allow": admission.ALLOWED[path], **SAFE_HEADERS})
        if method == "POST":
            return _report(environ, headers, settings.max_body_bytes, slots)
        return pages[path]()

    for route in ("/", "/<path:path>"):
        app.route(route, "ANY", lambda path="": answer(f"/{path}"))
    app.default_error_handler = _on_error
    return app


def _page(name: str, kind: str) -> Callable[[], bottle.HTTPResponse]:
    content = (_ROOM / name).read_bytes()
    headers = {
        "Content-Type": kind,
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _PAGE_POLICY,
        **SAFE_HEADERS,
    }
    return lambda: bottle.HTTPResponse(content, 200, {**headers, "Content-Length": str(len(content))})


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    found = {name[5:]: value for name, value in environ.items() if name.startswith("HTTP_")}
    return {**found, "CONTENT_LENGTH": environ.get("CONTENT_LENGTH", "")}


def _report(environ: dict[str, Any], headers: dict[str, str], limit: int, slots: Slots) -> bottle.HTTPResponse:
    length, compressed = int(headers["CONTENT_LENGTH"] or 0), "gzip" in admission.encoding(headers)
    try:
        with slots.checkout() as slot:
            bodies.spool(environ["wsgi.input"], length, slot.body, limit, compressed)
            return _run(slot)
    except ProblemError as error:
        return _respond(error.problem)


def _run(slot: Slot) -> bottle.HTTPResponse:
    try:
        summary = slot.run()
    except RejectsError as error:
        return _respond(_reject_problem(error, slot.body))
    except InputError as error:
        return _respond(Problem(400, str(error)))
    except OutputError:
        raise ProblemError(507, "the server has no room for the report", Retry_After="60") from None
    return _csv(slot, summary)


def _csv(slot: Slot, summary: Summary) -> bottle.HTTPResponse:
    report = slot.take_report()
    headers = {
        "Content-Type": "text/csv; charset=utf-8",
        "Content-Length": str(os.fstat(report.fileno()).st_size),
        "Content-Disposition": 'attachment; filename="report.csv"',
        "Cache-Control": "no-store",
        SUMMARY: json.dumps({name: getattr(summary, name) for name in _COUNTERS}, separators=(",", ":")),
    }
    return bottle.HTTPResponse(report, 200, {**headers, **SAFE_HEADERS})


def _reject_problem(error: RejectsError, body: Path) -> Problem:
    tally = error.tally
    if tally is None:  # an engine in another process
        return Problem(400, str(error))
    indices = _indices(body, tally.first)
    rejects = [
        {"index": index, "offset": reject.offset, "reason": reject.reason}
        for index, reject in zip(indices, tally.first, strict=True)
    ]
    least = "at least " if tally.partial else ""
    detail = f"{least}{tally.rejected} of {tally.read} records are no events"
    members = {"rejected": tally.rejected, "read": tally.read, "complete": not tally.partial, "rejects": rejects}
    return Problem(400, detail, members)


def _indices(body: Path, rejects: Sequence[Reject]) -> Iterator[int]:
    """Records before each reject. (In JSON Lines a reader knows only offsets: it may have begun in the middle.)"""
    if all(reject.index is not None for reject in rejects):
        yield from (reject.index or 0 for reject in rejects)
        return
    with open(body, "rb") as lines:
        index = 0
        for reject in rejects:
            while lines.tell() <= (reject.offset or 0):
                line = lines.readline()
                index += bool(line.strip())
            yield index - 1


def _respond(problem: Problem) -> bottle.HTTPResponse:
    return bottle.HTTPResponse(problem.body, problem.status, problem.all_headers)


def _on_error(error: bottle.HTTPError) -> bytes:
    """What Bottle itself refuses, and defects (500), without internals."""
    if error.status_code >= 500:
        logging.getLogger(__name__).error("request failed", exc_info=error.exception)
    detail = "the server failed; its log says why" if error.status_code >= 500 else "the request cannot be understood"
    problem = Problem(error.status_code, detail)
    for name, value in problem.all_headers.items():
        bottle.response.set_header(name, value)
    return problem.body
