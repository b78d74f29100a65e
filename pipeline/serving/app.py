"""The WSGI application: POST / makes a report; GET serves the page, openapi.json, health and metrics."""

import atexit
import contextlib
import gc
import hashlib
import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bottle

from pipeline.engine.prism import running_prism
from pipeline.engine.runners import beam_options
from pipeline.engine.threads import set_malloc_option
from pipeline.errors import InputError, OutputError, RejectsError, TooLargeError, UsageError, one_line
from pipeline.formats.decoding import Block
from pipeline.model.settings import ReportSettings
from pipeline.model.tally import Summary
from pipeline.native.loader import LOAD_AFTER_BYTES
from pipeline.serving import Settings, telemetry
from pipeline.serving.page_files import FILES, LiveReports, page_file
from pipeline.serving.problems import SAFE_HEADERS, ProblemError, reject_problem, shortage
from pipeline.serving.request import check_head, report_settings, request_kind, spooled_body
from pipeline.serving.staging import check_staging
from pipeline.serving.workspaces import Workspace, WorkspacePool
from pipeline.storage.temporary import scratch_folder

_COUNTERS = ("read", "counted", "rejected", "hours")
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ARENA_MAX = -8  # of glibc's mallopt

_log = logging.getLogger(__name__)


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

    def __init__(self, settings: Settings, folder: Path, pool: WorkspacePool, metrics: telemetry.Metrics) -> None:
        self._settings, self._folder, self._pool, self._metrics = settings, folder, pool, metrics
        self.is_stopping: Callable[[], bool] = lambda: False
        self._pages = {path: _page(page_file(path, settings), kind) for path, (_, kind) in FILES.items()}
        self._live = LiveReports(settings.reports) if settings.reports else None
        self._pages |= {"/reports.csv": self._live_reports, "/healthz": self._health, "/metrics": self._exposition}

    def wsgi(self) -> bottle.Bottle:
        """Returns the WSGI application."""
        app = bottle.Bottle()
        app.uninstall(True)  # Bottle's plugins
        for route in ("/", "/<path:path>"):
            app.route(route, "ANY", lambda path="": self._handle(bottle.request.environ))
        app.default_error_handler = lambda error: ProblemError(error.status_code, "malformed request")
        return app

    def _handle(self, environ: dict[str, Any]) -> bottle.HTTPResponse:
        """Returns the response to a request; logs and counts it."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        name = method if method in ("GET", "HEAD", "POST") else "-"
        entry = telemetry.Entry(telemetry.client_address(environ), name, request_kind(method, path))
        try:
            check_head(environ, self._settings)
            response = self._report(environ, entry) if method == "POST" else self._pages[path](environ)
        except ProblemError as problem:
            response = problem.with_traceback(None)  # no reference cycle
        except Exception as error:
            response = shortage(error)
            if response is None:
                _log.exception("request failed")
                response = ProblemError(500, "internal error; see the server's log")
        entry.finish(response.status_code)
        self._metrics.count(entry)
        return response

    def _report(self, environ: dict[str, Any], entry: telemetry.Entry) -> bottle.HTTPResponse:
        try:
            report = report_settings(self._settings.report, environ.get("QUERY_STRING", ""))
        except UsageError as error:
            raise ProblemError(400, str(error)) from None
        with spooled_body(environ, self._folder, self._settings.max_body_bytes, entry) as body:
            entry.start_clock()
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
        return _text(self._metrics.exposition(), telemetry.METRICS_TYPE)


def _page(content: bytes, kind: str) -> Callable[[dict[str, Any]], bottle.HTTPResponse]:
    """Returns a handler that serves a file, or 304 if the client has it."""
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Content-Security-Policy": _PAGE_POLICY, **SAFE_HEADERS}

    def handle(environ: dict[str, Any]) -> bottle.HTTPResponse:
        known = {known.strip().removeprefix("W/") for known in environ.get("HTTP_IF_NONE_MATCH", "").split(",")}
        if known & {tag, "*"}:
            return bottle.HTTPResponse("", 304, headers)
        return bottle.HTTPResponse(content, 200, {"Content-Type": kind, **headers})

    return handle


def _text(content: bytes, kind: str) -> bottle.HTTPResponse:
    return bottle.HTTPResponse(content, 200, {"Content-Type": kind, "Cache-Control": "no-store", **SAFE_HEADERS})


def _run(workspace: Workspace, report: ReportSettings, entry: telemetry.Entry) -> bottle.HTTPResponse:
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


def check_settings(settings: Settings) -> None:
    """Checks Beam's options and the staging folder.

    Raises:
      UsageError: an option is invalid.
    """
    with tempfile.TemporaryDirectory() as folder:
        check_staging(settings.staging_location, beam_options(settings.beam_arguments), Path(folder))


def start_app(settings: Settings) -> Any:
    """Returns the WSGI application; its temporary files are removed when this process exits.

    Raises:
      UsageError: a setting is invalid.
    """
    check_settings(settings)
    resources = contextlib.ExitStack()
    atexit.register(resources.close)
    return make_report_app(settings, resources).wsgi()


def make_report_app(settings: Settings, resources: contextlib.ExitStack) -> ReportApp:
    """Returns the application, ready to make reports.

    Args:
      settings: checked settings.
      resources: its close() stops Prism, if it is the runner, and removes temporary files.
    """
    _limit_arenas()
    os.makedirs(tempfile.gettempdir(), 0o700, exist_ok=True)  # a cleaner may have removed it
    folder = Path(resources.enter_context(scratch_folder()))
    options = beam_options(settings.beam_arguments)
    resources.enter_context(running_prism(options))
    workspaces = [
        Workspace(folder / f"workspace-{number}", options, settings) for number in range(settings.concurrency)
    ]
    metrics = telemetry.Metrics()
    threading.Thread(target=_warm_up, daemon=True).start()
    return ReportApp(settings, folder, WorkspacePool(workspaces, settings.queue_timeout, metrics), metrics)


def _limit_arenas() -> None:
    """Limits glibc's malloc to two arenas.

    Arenas keep freed memory. With the default, eight per core, a worker grew from 256 to 392 MiB over thousands of
    requests.
    """
    set_malloc_option(_ARENA_MAX, 2)


def _warm_up() -> None:
    """Loads or compiles the scanner before the first large body needs it."""
    try:
        Block(b" " * LOAD_AFTER_BYTES + b"\n").decode(want_ids=False)
    except Exception as error:
        _log.warning("compiled code is unavailable: large bodies will be slow or refused: %s", one_line(error))
    gc.collect()
    gc.freeze()  # exclude Beam's half a million objects from collections
