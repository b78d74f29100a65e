"""What the server answers at each of its paths, and what it hides."""

import html
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

import pipeline.serving.workspaces
from pipeline.model.settings import ReportSettings
from pipeline.serving import Settings
from pipeline.serving.telemetry import Metrics
from tests.serving_support import SAMPLE, build_app, build_report_app, call, call_loosely


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/app.js"])
def test_other_methods(app: Any, method: str, path: str) -> None:
    answer = call_loosely(app, method=method, path=path)
    assert answer.status == 405
    assert answer.headers["Allow"] == ("GET, HEAD, POST" if path == "/" else "GET, HEAD")
    assert answer.problem


def test_the_page_knows_the_server(tmp_path: Path) -> None:
    report = ReportSettings(None, "Europe/Paris", "0.2", deduplicate=True, skip_rejects=True)
    answer = call(build_app(tmp_path, Settings(max_body_bytes=5000, report=report)), method="GET")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    (known,) = re.findall('<meta name="server" content="(.*)">', answer.body.decode())
    assert json.loads(html.unescape(known)) == {
        "limit": 5000,
        "zone": "Europe/Paris",
        "factor": "0.2",
        "skip": True,
        "deduplicate": True,
    }


def test_the_page_may_do_little(app: Any) -> None:
    headers = call(app, method="GET").headers
    assert headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


def test_health_while_the_server_stops(tmp_path: Path) -> None:
    report_app = build_report_app(tmp_path)
    app = report_app.wsgi()
    assert call(app, method="GET", path="/healthz").body == b"ok\n"
    report_app.is_stopping = lambda: True
    answer = call(app, method="GET", path="/healthz")
    assert answer.problem["detail"] == "the server is shutting down"
    assert answer.headers["Retry-After"]


@pytest.mark.parametrize(("error", "status"), [(28, 507), (2, 500)])
def test_metrics_without_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, status: int) -> None:
    """A full disk, or a cleaned folder, is no defect."""

    def fail(*_: Any) -> None:
        raise OSError(error, os.strerror(error), str(tmp_path))

    app = build_app(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "exposition", fail)
        assert call(app, method="GET", path="/metrics").problem["status"] == status
    assert call(app, method="GET", path="/metrics").status == 200


@pytest.mark.parametrize("host", ["attacker.example", "report.example", "", "10.0.0.1"])
def test_names_of_other_machines(tmp_path: Path, host: str) -> None:
    """They are taken where a token, --insecure or --host says so."""
    assert call(build_app(tmp_path / "a"), SAMPLE, HTTP_HOST=host).problem["status"] == 421
    for settings in (Settings(token="secret"), Settings(insecure=True), Settings(host=host)):
        app = build_app(tmp_path / "b", settings)
        assert call(app, SAMPLE, HTTP_HOST=host, HTTP_AUTHORIZATION="Bearer secret").status == 200


def test_a_defect_shows_no_internals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("/tmp/secret")

    app = build_app(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.serving.workspaces.Workspace, "run", fail)
        answer = call(app, SAMPLE)
    assert answer.problem["status"] == 500
    assert b"secret" not in answer.body
    assert call(app, SAMPLE).status == 200  # the workspace is free again
