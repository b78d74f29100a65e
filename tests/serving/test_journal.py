"""What a server tells of itself: lines and metrics."""

import json
import os
import re
import signal
from pathlib import Path

from tests.process_support import metrics
from tests.serving_support import (
    SAMPLE,
    Server,
    await_true,
    running,
)


def test_access_log(server: Server) -> None:
    server.post()
    server.post(b"[")
    await_true(lambda: "POST report 400" in server.log)
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.search(rf"^{time} POST report 200 bytes={len(SAMPLE)} events=6 ms=\d+$", server.log, re.MULTILINE)
    assert re.search(rf"^{time} POST report 400 bytes=1 events=0 ms=\d+$", server.log, re.MULTILINE)
    assert "c8e3" not in server.log


def test_json_log(tmp_path: Path) -> None:
    with running(tmp_path / "tmp", "--processes", "1", "--log_format", "json") as server:
        assert server.get("/healthz").status == 200
        assert server.post().status == 200
        await_true(lambda: '"report"' in server.log)  # it is written when the answer is sent
        (worker,) = server.workers
        os.kill(worker, signal.SIGKILL)
        await_true(lambda: "starting another" in server.log)
        assert server.post().status == 200
        await_true(lambda: server.log.count('"report"') == 2)
        lines = [json.loads(line) for line in server.log.splitlines()]
    assert {(line["level"], line.get("kind"), line.get("status")) for line in lines} == {
        ("info", None, None),
        ("warning", None, None),
        ("info", "health", 200),
        ("info", "report", 200),
    }
    (line, _) = [line for line in lines if line.get("kind") == "report"]
    assert (line["method"], line["bytes"], line["events"]) == ("POST", len(SAMPLE), 6)
    assert line["ms"] > 0


def test_health_and_metrics(server: Server) -> None:
    """Metrics are those of all processes, whichever answers."""
    await_true(lambda: server.get("/healthz").body == b"ok\n")  # the other process may start yet
    await_true(lambda: metrics(server)["hourly_report_slots"] == 4)
    before = metrics(server)
    for _ in range(5):
        server.post()
    server.post(b"[")
    names = {
        'hourly_report_requests_total{kind="report",status="200"}': 5,
        'hourly_report_requests_total{kind="report",status="400"}': 1,
        'hourly_report_request_seconds_count{kind="report"}': 6,
        "hourly_report_events_total": 30,
        "hourly_report_body_bytes_total": 5 * len(SAMPLE) + 1,
    }
    await_true(lambda: {name: metrics(server).get(name, 0) - before.get(name, 0) for name in names} == names)
    await_true(lambda: metrics(server)["hourly_report_slots_busy"] == 0)
