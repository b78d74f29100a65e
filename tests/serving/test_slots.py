"""Slots: taken, given back, and cleaned."""

import io
import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import pipeline.serving.slots
from pipeline.batch.run import PreparedJob
from pipeline.errors import InputError
from pipeline.model.settings import DEFAULT_REPORT, ReportSettings
from pipeline.serving import bodies
from tests import oracle
from tests.requests_support import ROWS, ask
from tests.serving_support import (
    EVENT,
    REPORT,
    SAMPLE,
    build_app,
    call,
    call_loosely,
)
from tests.support import NO_DOWNLOAD


class Blocked(io.BytesIO):
    """A body that comes when it is told to."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.is_read, self.go_on = threading.Event(), threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        self.is_read.set()
        assert self.go_on.wait(60)
        return super().read(size)


def test_busy(tmp_path: Path) -> None:
    """A request that finds no slot is told to come again: the server has as many threads for reports as slots."""
    app = build_app(tmp_path)
    body = Blocked(SAMPLE)
    more = {"wsgi.input": body, "CONTENT_LENGTH": str(len(SAMPLE))}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(call_loosely, app, **more)
        assert body.is_read.wait(60)
        refused = call(app, SAMPLE)
        body.go_on.set()
        assert answer.result().body.decode() == REPORT
    assert refused.problem["status"] == 503
    assert int(refused.headers["Retry-After"]) > 0
    assert call(app, SAMPLE).body.decode() == REPORT


def test_starting(tmp_path: Path) -> None:
    assert call(build_app(tmp_path, slots=0), SAMPLE).problem["status"] == 503


@pytest.mark.parametrize("at", ["body", "report"])
def test_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """Where a full disk cannot be had; the real one is in test_server_process.py."""
    app = build_app(tmp_path)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", str(tmp_path))

    with monkeypatch.context() as patch:
        patch.setattr(*((bodies, "_copy") if at == "body" else (os, "replace")), fail)
        answer = call(app, SAMPLE)
    assert answer.problem["status"] == 507
    assert answer.headers["Retry-After"]
    assert files_below(tmp_path) == []
    assert call(app, SAMPLE).status == 200


def test_the_folder_of_a_slot_is_made_again(tmp_path: Path) -> None:
    """Systems clean their folder for temporary files."""
    app = build_app(tmp_path / "slots")
    shutil.rmtree(tmp_path / "slots")
    assert call(app, SAMPLE).body.decode() == REPORT


def test_no_slot_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted", str(tmp_path))

    app = build_app(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", fail)
        assert call(app, SAMPLE).problem["status"] == 503
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
    for target in ((pipeline.serving.slots.Slot, "run"), (pipeline.serving.slots.Slot, "take_report")):
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


def test_no_report_waits_for_the_disk(tmp_path: Path) -> None:
    with mock.patch.object(os, "fsync") as sync:
        assert call(build_app(tmp_path), SAMPLE).status == 200
    assert not sync.called


def test_bodies_of_different_sizes_through_one_slot(tmp_path: Path) -> None:
    app = build_app(tmp_path)
    for count in (1, 100_000, 3, 0, 20_000):
        answer = call(app, (EVENT + "\n").encode() * count)
        assert json.loads(answer.headers["X-Report-Summary"])["counted"] == count


@pytest.mark.parametrize(
    "arguments",
    [["--runner=DirectRunner", NO_DOWNLOAD], ["--direct_num_workers=2", "--direct_running_mode=multi_threading"]],
    ids=["DirectRunner", "threads"],
)
def test_another_runner_builds_a_graph_for_each_request(tmp_path: Path, arguments: list[str]) -> None:
    app = build_app(tmp_path, None, *arguments)
    assert call(app, SAMPLE).body.decode() == REPORT
    assert call(app, SAMPLE).body.decode() == REPORT
    assert call(app, b"x").problem["status"] == 400


def test_a_graph_is_built_once_for_equal_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ReportSettings] = []

    class Counted(PreparedJob):
        def __init__(self, job: Any, options: Any) -> None:
            made.append(job.report.time_zone or job.report.utc_offset)
            super().__init__(job, options)

    monkeypatch.setattr(pipeline.serving.slots, "PreparedJob", Counted)
    monkeypatch.setattr(pipeline.serving.slots, "_KEPT", 2)
    app = build_app(tmp_path)
    threads = threading.active_count()
    asked = ["UTC", "UTC", "Europe/Paris", "UTC", "Asia/Kolkata", "UTC", "Europe/Paris"]
    for zone in asked:
        assert ask(app, time_zone=zone).body.decode() == oracle.report(ROWS, zone)
    # Of the usual one, UTC and Paris the first was used before the others; then Paris before UTC.
    assert made == ["+01:00", "UTC", "Europe/Paris", "Asia/Kolkata", "Europe/Paris"]
    assert call(app, SAMPLE, QUERY_STRING="utc_offset=%2B01:00").body.decode() == REPORT
    assert threading.active_count() <= threads + 8


def test_a_request_gets_the_slot_that_has_its_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    class Noted(PreparedJob):
        def __init__(self, job: Any, options: Any) -> None:
            made.append(job.report.impressions_factor)
            super().__init__(job, options)

    monkeypatch.setattr(pipeline.serving.slots, "PreparedJob", Noted)
    app = build_app(tmp_path, slots=2)
    pool = app.config["slots"]
    for factor in ("1", "1", "2", "2", "1", "0.1"):
        assert ask(app, impressions_factor=factor).body.decode() == oracle.report(ROWS, factor=factor)
        first, second = (pool.checkout(DEFAULT_REPORT) for _ in range(2))
        for slot in (first, second):
            slot.__enter__()
        for slot in (first, second):  # so that the slot of this report is not the last one that was used
            slot.__exit__(None, None, None)
    assert made == ["0.1", "0.1", "1", "2"]
