"""The WSGI application: POST / makes a report; the page and openapi.json are read once at the start."""

import html
import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import bottle

from pipeline.errors import InputError, OutputError, RejectsError, UsageError
from pipeline.model.settings import ReportSettings
from pipeline.model.tally import Summary
from pipeline.serving import bodies, problems
from pipeline.serving.journal import METRICS_TYPE, Journal
from pipeline.serving.page_files import PAGE_FILES, SCRIPT_TAGS
from pipeline.serving.problems import SAFE_HEADERS, Problem, ProblemError, reject_problem
from pipeline.serving.settings import Settings, from_query
from pipeline.serving.slots import Slot, Slots

SUMMARY = "X-Report-Summary"
"""Header of a report: its counts as JSON."""

_COUNTERS = ("read", "counted", "rejected", "hours")

_ROOM = Path(__file__).resolve().parent
_FILES = {
    "/": ("page/index.html", "text/html; charset=utf-8"),
    **PAGE_FILES,
    "/openapi.json": ("openapi.json", "application/json"),
}
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


def make_app(
    settings: Settings, slots: Slots, journal: Journal, is_stopping: Callable[[], bool] = lambda: False
) -> bottle.Bottle:
    """The WSGI application. is_stopping: whether the server is stopping, which /healthz tells."""
    app = bottle.Bottle()
    app.uninstall(True)  # plugins, none of which is of use here
    pages = {path: _page(_content(name, settings), kind) for path, (name, kind) in _FILES.items()}
    pages["/healthz"] = lambda: _health(slots, is_stopping())
    pages["/metrics"] = lambda: _metrics(journal)

    def answer(path: str) -> bottle.HTTPResponse:
        environ = bottle.request.environ
        method, headers = environ["REQUEST_METHOD"], _headers(environ)
        refused = problems.refuse(method, path, headers, settings)
        if refused:
            return _respond(refused)
        if method == "OPTIONS":
            return bottle.HTTPResponse("", 204, {"Allow": problems.ALLOWED[path], **SAFE_HEADERS})
        if method == "POST":
            return _report(environ, headers, settings, slots)
        return pages[path]()

    for route in ("/", "/<path:path>"):
        app.route(route, "ANY", lambda path="": answer(f"/{path}"))
    app.default_error_handler = _on_error
    return app


def _content(name: str, settings: Settings) -> bytes:
    """A file of this room; in the page's HTML the server's settings are filled in."""
    report = settings.report
    known = {
        "limit": settings.max_body_bytes,
        "zone": report.time_zone or report.utc_offset,
        "factor": report.impressions_factor,
        "skip": report.skip_rejects,
        "deduplicate": report.deduplicate,
    }
    content = (_ROOM / name).read_text("utf-8")
    if name.endswith(".html"):
        content = content.replace("{server}", html.escape(json.dumps(known)))
        content = content.replace("{scripts}", SCRIPT_TAGS)
        content = content.replace("{limit}", f", up to {_size(settings.max_body_bytes)} (also when unpacked)")
    return content.encode()


def _size(number: int) -> str:
    return f"{number:,} bytes" if number < 100_000 else f"{number / 2**20:,.4g} MiB"


def _page(content: bytes, kind: str) -> Callable[[], bottle.HTTPResponse]:
    headers = {
        "Content-Type": kind,
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _PAGE_POLICY,
        **SAFE_HEADERS,
    }
    return lambda: bottle.HTTPResponse(content, 200, {**headers, "Content-Length": str(len(content))})


def _health(slots: Slots, is_stopping: bool) -> bottle.HTTPResponse:
    if is_stopping or not slots.total:
        state = "stopping" if is_stopping else "starting"
        return _respond(Problem(503, f"the server is {state}", headers={"Retry-After": "2"}))
    return _text(b"ok\n", "text/plain; charset=utf-8")


def _metrics(journal: Journal) -> bottle.HTTPResponse:
    try:
        return _text(journal.exposition(), METRICS_TYPE)
    except OSError as error:
        return _respond(bodies.no_room(error).problem)


def _text(content: bytes, kind: str) -> bottle.HTTPResponse:
    headers = {"Content-Type": kind, "Cache-Control": "no-store", **SAFE_HEADERS}
    return bottle.HTTPResponse(content, 200, {**headers, "Content-Length": str(len(content))})


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    found = {name[5:]: value for name, value in environ.items() if name.startswith("HTTP_")}
    return {**found, "CONTENT_LENGTH": environ.get("CONTENT_LENGTH", "")}


def _report(environ: dict[str, Any], headers: dict[str, str], settings: Settings, slots: Slots) -> bottle.HTTPResponse:
    length, limit = int(headers["CONTENT_LENGTH"] or 0), settings.max_body_bytes
    try:
        asked = from_query(settings.report, environ.get("QUERY_STRING", ""))
        with slots.checkout(asked) as slot:
            bodies.spool(environ["wsgi.input"], length, slot.body, limit, problems.codec(headers))
            return _run(slot, asked)
    except UsageError as error:
        return _respond(Problem(400, str(error)))
    except ProblemError as error:
        return _respond(error.problem)
    except Exception as error:
        short = bodies.shortage(error)
        if short is None:
            raise
        return _respond(short.problem)


def _run(slot: Slot, asked: ReportSettings) -> bottle.HTTPResponse:
    try:
        summary = slot.run(asked)
    except RejectsError as error:
        return _respond(reject_problem(error, slot.body))
    except InputError as error:
        if bodies.shortage(error):
            raise
        return _respond(Problem(400, str(error)))
    except OutputError:
        raise ProblemError(507, "the server has no room for the report", Retry_After="60") from None
    return _csv(slot, summary, (*_COUNTERS, "duplicate") if asked.deduplicate else _COUNTERS)


def _csv(slot: Slot, summary: Summary, counters: Iterable[str]) -> bottle.HTTPResponse:
    report, size = slot.take_report()
    headers = {
        "Content-Type": "text/csv; charset=utf-8",
        "Content-Length": str(size),
        "Content-Disposition": 'attachment; filename="report.csv"',
        "Cache-Control": "no-store",
        SUMMARY: json.dumps({name: getattr(summary, name) for name in counters}, separators=(",", ":")),
    }
    return bottle.HTTPResponse(report, 200, {**headers, **SAFE_HEADERS})


def _respond(problem: Problem) -> bottle.HTTPResponse:
    return bottle.HTTPResponse(problem.body, problem.status, problem.all_headers)


def _on_error(error: bottle.HTTPError) -> bytes:
    """The answer to what Bottle itself refuses, and to defects (500, logged): a problem that shows no internals."""
    if error.status_code >= 500:
        logging.getLogger(__name__).error("request failed", exc_info=error.exception)
    detail = "the server failed; its log says why" if error.status_code >= 500 else "the request cannot be understood"
    problem = Problem(error.status_code, detail)
    for name, value in problem.all_headers.items():
        bottle.response.set_header(name, value)
    return problem.body
