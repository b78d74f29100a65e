"""The WSGI application: POST / makes a report; GET serves the page, openapi.json, health and metrics."""

import hashlib
import html
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bottle

from pipeline.errors import InputError, OutputError, RejectsError, TooLargeError, UsageError
from pipeline.model.settings import ReportSettings
from pipeline.model.tally import Summary
from pipeline.serving import access_log, admission
from pipeline.serving.bodies import spooled_body
from pipeline.serving.live_reports import LiveReports
from pipeline.serving.metrics import CONTENT_TYPE, Metrics
from pipeline.serving.page_files import PAGE_FILES, SCRIPT_TAGS
from pipeline.serving.problems import SAFE_HEADERS, ProblemError, reject_problem, shortage
from pipeline.serving.settings import Settings, from_query
from pipeline.serving.workspaces import Workspace, WorkspacePool

_COUNTERS = ("read", "counted", "rejected", "hours")
_FOLDER = Path(__file__).resolve().parent
_FILES = {
    "/": ("page/index.html", "text/html; charset=utf-8"),
    **PAGE_FILES,
    "/openapi.json": ("openapi.json", "application/json"),
}
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class ReportApp:
    """Handles requests.

    Args:
      settings: settings of the server.
      folder: folder for uploaded bodies.
      pool: workspaces that make the reports.
      metrics: counts responses.

    Attributes:
      is_stopping: returns whether the server is shutting down.
    """

    def __init__(self, settings: Settings, folder: Path, pool: WorkspacePool, metrics: Metrics) -> None:
        self._settings, self._folder, self._pool, self._metrics = settings, folder, pool, metrics
        self.is_stopping: Callable[[], bool] = lambda: False
        self._pages = {path: _page(_content(name, settings), kind) for path, (name, kind) in _FILES.items()}
        self._live = LiveReports(settings.reports) if settings.reports else None
        self._pages |= {"/reports.csv": self._live_reports, "/healthz": self._health, "/metrics": self._exposition}

    def wsgi(self) -> bottle.Bottle:
        """Returns the WSGI application."""
        app = bottle.Bottle()
        app.uninstall(True)  # Bottle's plugins
        for route in ("/", "/<path:path>"):
            app.route(route, "ANY", lambda path="": self._handle(bottle.request.environ))
        app.default_error_handler = _on_error
        return app

    def _handle(self, environ: dict[str, Any]) -> bottle.HTTPResponse:
        """Returns the response to a request; logs and counts it."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        name = method if method in ("GET", "HEAD", "POST") else "-"
        entry = access_log.Entry(access_log.client_address(environ), name, admission.kind(method, path))
        environ["report.received"] = time.monotonic()
        try:
            response = self._respond(method, path, environ, entry)
        except ProblemError as problem:
            response = problem.to_response()
        except Exception as error:
            short = shortage(error)
            if short is None:
                logging.getLogger(__name__).exception("request failed")
            response = (short or ProblemError(500, "internal error; see the server's log")).to_response()
        entry.status = response.status_code
        entry.ms = (time.monotonic() - environ["report.received"]) * 1000
        access_log.write(entry)
        self._metrics.count(entry)
        return response

    def _respond(self, method: str, path: str, environ: dict[str, Any], entry: access_log.Entry) -> bottle.HTTPResponse:
        refused = admission.check(environ, self._settings)
        if refused:
            raise refused
        return self._report(environ, entry) if method == "POST" else self._pages[path](environ)

    def _report(self, environ: dict[str, Any], entry: access_log.Entry) -> bottle.HTTPResponse:
        try:
            report = from_query(self._settings.report, environ.get("QUERY_STRING", ""))
        except UsageError as error:
            raise ProblemError(400, str(error)) from None
        with spooled_body(environ, self._folder, self._settings.max_body_bytes) as (body, entry.bytes):
            environ["report.received"] = time.monotonic()
            with self._pool.acquire() as workspace:
                os.replace(body, workspace.body)
                return _run(workspace, report, entry)

    def _live_reports(self, environ: dict[str, Any]) -> bottle.HTTPResponse:
        if self._live is None:
            raise ProblemError(404, "the server was started without a folder of live reports")
        try:
            return _page(self._live.csv(), "text/csv; charset=utf-8")(environ)
        except InputError as error:
            raise ProblemError(503, str(error), Retry_After="2") from None

    def _health(self, environ: dict[str, Any]) -> bottle.HTTPResponse:
        if self.is_stopping():
            raise ProblemError(503, "the server is shutting down", Retry_After="2")
        return _text(b"ok\n", "text/plain; charset=utf-8")

    def _exposition(self, environ: dict[str, Any]) -> bottle.HTTPResponse:
        return _text(self._metrics.exposition(), CONTENT_TYPE)


def _content(name: str, settings: Settings) -> bytes:
    """Returns a file of this package, with the server's settings filled into HTML."""
    report = settings.report
    known = {
        "limit": settings.max_body_bytes,
        "zone": report.time_zone or report.utc_offset,
        "factor": report.impressions_factor,
        "skip": report.skip_rejects,
        "deduplicate": report.deduplicate,
        **({"live": True} if settings.reports else {}),
    }
    content = (_FOLDER / name).read_text("utf-8")
    if name.endswith(".html"):
        content = content.replace("{server}", html.escape(json.dumps(known)))
        content = content.replace("{scripts}", SCRIPT_TAGS)
        content = content.replace("{limit}", f", up to {_size(settings.max_body_bytes)} (also after decompression)")
    return content.encode()


def _size(number: int) -> str:
    return f"{number:,} bytes" if number < 100_000 else f"{number / 2**20:,.4g} MiB"


def _page(content: bytes, kind: str) -> Callable[[dict[str, Any]], bottle.HTTPResponse]:
    """Returns a handler that serves a file, or 304 if the client has it."""
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Content-Security-Policy": _PAGE_POLICY, **SAFE_HEADERS}

    def handle(environ: dict[str, Any]) -> bottle.HTTPResponse:
        known = {known.strip().removeprefix("W/") for known in environ.get("HTTP_IF_NONE_MATCH", "").split(",")}
        if known & {tag, "*"}:
            return bottle.HTTPResponse("", 304, headers)
        more = {"Content-Type": kind, "Content-Length": str(len(content))}
        return bottle.HTTPResponse(content, 200, {**headers, **more})

    return handle


def _text(content: bytes, kind: str) -> bottle.HTTPResponse:
    headers = {"Content-Type": kind, "Cache-Control": "no-store", **SAFE_HEADERS}
    return bottle.HTTPResponse(content, 200, {**headers, "Content-Length": str(len(content))})


def _run(workspace: Workspace, report: ReportSettings, entry: access_log.Entry) -> bottle.HTTPResponse:
    try:
        summary = workspace.run(report)
    except RejectsError as error:
        raise reject_problem(error, workspace.body) from None
    except TooLargeError as error:
        raise ProblemError(413, str(error)) from None
    except InputError as error:
        raise shortage(error) or ProblemError(400, str(error)) from None
    except OutputError:
        raise ProblemError(507, "the server's disk is full", Retry_After="60") from None
    entry.events = summary.read
    return _csv(workspace, summary, (*_COUNTERS, "duplicate") if report.deduplicate else _COUNTERS)


def _csv(workspace: Workspace, summary: Summary, counters: tuple[str, ...]) -> bottle.HTTPResponse:
    report, size = workspace.take_report()
    headers = {
        "Content-Type": "text/csv; charset=utf-8",
        "Content-Length": str(size),
        "Content-Disposition": 'attachment; filename="report.csv"',
        "Cache-Control": "no-store",
        "X-Report-Summary": json.dumps({name: getattr(summary, name) for name in counters}, separators=(",", ":")),
    }
    return bottle.HTTPResponse(report, 200, {**headers, **SAFE_HEADERS})


def _on_error(error: bottle.HTTPError) -> bytes:
    """Replaces Bottle's own error pages with a problem document without internals."""
    response = ProblemError(error.status_code, "malformed request").to_response()
    for name, value in response.headerlist:
        bottle.response.set_header(name, value)
    body: bytes = response.body
    return body
