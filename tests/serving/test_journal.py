"""What a server tells of itself: lines and metrics."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.multiprocess import MultiProcessCollector

from pipeline.serving.journal import Collector
from tests.process_support import metrics
from tests.serving_support import (
    ROOT,
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


BESIDE_A_BEGINNER = """
import sys
from pathlib import Path
from pipeline.serving.journal import Answer, Journal

folder, name = Path(sys.argv[1]), sys.argv[2]
journal = Journal(folder=folder)
journal.load()
journal.answered(Answer("POST", "report", 200, 10, 1, 0.5))
(folder / name).write_bytes(b"")
sys.stdout.buffer.write(journal.exposition())
"""


@pytest.mark.parametrize("name", ["counter_1.db", "histogram_1.db", "gauge_livesum_1.db"])
def test_metrics_while_another_process_starts(name: str, tmp_path: Path) -> None:
    """Its file of numbers is empty at first."""
    command = [sys.executable, "-c", BESIDE_A_BEGINNER, str(tmp_path / "metrics"), name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "hourly_report_events_total 1.0\n" in done.stdout


AFTER_A_CLEANER = """
import shutil, sys
from pathlib import Path
from pipeline.serving.journal import Answer, Journal

folder = Path(sys.argv[1])
journal = Journal(folder=folder, gauges=lambda: (0, 7, 0))
journal.load()
shutil.rmtree(folder.parent)
journal.answered(Answer("POST", "report", 200, 10, 1, 0.5))
journal.refresh()
sys.stdout.buffer.write(journal.exposition())
"""


def test_metrics_after_their_files_were_removed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", AFTER_A_CLEANER, str(tmp_path / "server" / "metrics")]
    (tmp_path / "server").mkdir()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "hourly_report_slots 7.0\n" in done.stdout
    assert 'hourly_report_request_seconds_count{kind="report"} 1.0\n' in done.stdout
    assert "Traceback" not in done.stderr


def test_metrics_while_another_process_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files may be gone between their listing and their reading."""
    (tmp_path / "counter_1.db").write_bytes(bytes(4096))
    merge = MultiProcessCollector.merge

    def merge_late(files: list[str]) -> Any:
        for path in tmp_path.iterdir():
            path.unlink()
        return merge(files)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(MultiProcessCollector, "merge", merge_late)
    assert list(Collector(tmp_path).collect()) == []
