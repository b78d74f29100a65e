"""Workspaces: taken, given back, and cleaned."""

import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import pipeline.serving.workspaces
from pipeline.batch.run import PreparedJob
from pipeline.engine.runners import beam_options
from pipeline.errors import InputError
from pipeline.model.settings import ReportSettings
from pipeline.serving import Settings, request
from pipeline.serving.telemetry import Metrics
from pipeline.serving.workspaces import Workspace, WorkspacePool
from tests import oracle
from tests.processes import await_true
from tests.serving_support import EVENT, REPORT, ROWS, SAMPLE, ask, build_app, call


def test_first_come_first_served(tmp_path: Path) -> None:
    """Who gives a workspace back does not overtake those that wait."""
    pool = WorkspacePool([Workspace(tmp_path / "w", beam_options([]), Settings())], 60, Metrics())
    order: list[int] = []

    def take(number: int) -> None:
        with pool.acquire():
            order.append(number)

    with ThreadPoolExecutor(9) as threads:
        with pool.acquire():
            for number in range(9):
                threads.submit(take, number)
                await_true(lambda number=number: len(pool._waiting) == number + 1)  # type: ignore[misc]
        take(9)
    assert order == list(range(10))


@pytest.mark.parametrize("at", ["body", "report"])
def test_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """Where a full disk cannot be had; the real one is in test_processes.py."""
    app = build_app(tmp_path)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", str(tmp_path))

    with monkeypatch.context() as patch:
        patch.setattr(*((request, "_copy") if at == "body" else (os, "replace")), fail)
        answer = call(app, SAMPLE)
    assert answer.problem["status"] == 507
    assert answer.headers["Retry-After"]
    assert files_below(tmp_path) == []
    assert call(app, SAMPLE).status == 200


def test_the_folder_of_a_workspace_is_made_again(tmp_path: Path) -> None:
    """Systems clean their folder for temporary files."""
    app = build_app(tmp_path / "all")
    shutil.rmtree(tmp_path / "all")
    assert call(app, SAMPLE).body.decode() == REPORT


def test_no_workspace_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted", str(tmp_path))

    app = build_app(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", fail)
        assert call(app, SAMPLE).problem["status"] == 500
    assert call(app, SAMPLE).body.decode() == REPORT


@pytest.mark.parametrize("error", [OSError(24, "Too many open files", "/tmp/x"), MemoryError()], ids=repr)
def test_files_or_memory_are_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """That is no defect, nor the body's."""

    def fail(*_: Any, **__: Any) -> None:
        try:
            raise error
        except (OSError, MemoryError) as reason:
            raise InputError("cannot be read") from reason

    app = build_app(tmp_path)
    for target in ((Workspace, "run"), (Workspace, "take_report")):
        with monkeypatch.context() as patch:
            patch.setattr(*target, fail)
            answer = call(app, SAMPLE)
        assert answer.problem["status"] == 503
        assert answer.headers["Retry-After"]
    assert call(app, SAMPLE).status == 200


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_no_files_are_left(tmp_path: Path) -> None:
    app = build_app(tmp_path)
    for body, status in ((SAMPLE, 200), (b"x", 400), (b"[", 400), (SAMPLE, 200)):
        assert call(app, body).status == status
        assert files_below(tmp_path) == []


def test_bodies_of_different_sizes_through_one_workspace(tmp_path: Path) -> None:
    app = build_app(tmp_path)
    for count in (1, 100_000, 3, 0, 20_000):
        answer = call(app, (EVENT + "\n").encode() * count)
        assert json.loads(answer.headers["X-Report-Summary"])["counted"] == count


def test_another_runner_builds_a_graph_for_each_request(tmp_path: Path) -> None:
    app = build_app(tmp_path, None, "--direct_num_workers=2", "--direct_running_mode=multi_threading")
    assert call(app, SAMPLE).body.decode() == REPORT
    assert call(app, SAMPLE).body.decode() == REPORT
    assert call(app, b"x").problem["status"] == 400


def test_a_graph_is_built_once_for_equal_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ReportSettings] = []

    class Counted(PreparedJob):
        def __init__(self, job: Any, options: Any) -> None:
            made.append(job.report.time_zone or job.report.utc_offset)
            super().__init__(job, options)

    monkeypatch.setattr(pipeline.serving.workspaces, "PreparedJob", Counted)
    monkeypatch.setattr(pipeline.serving.workspaces, "_MAX_GRAPHS", 2)
    app = build_app(tmp_path)
    threads = threading.active_count()
    asked = ["UTC", "UTC", "Europe/Paris", "UTC", "Asia/Kolkata", "UTC", "Europe/Paris"]
    for zone in asked:
        assert ask(app, time_zone=zone).body.decode() == oracle.report(ROWS, zone)
    # Of the usual one, UTC and Paris the first was used before the others; then Paris before UTC.
    assert made == ["+01:00", "UTC", "Europe/Paris", "Asia/Kolkata", "Europe/Paris"]
    assert call(app, SAMPLE, QUERY_STRING="utc_offset=%2B01:00").body.decode() == REPORT
    assert threading.active_count() <= threads + 8
