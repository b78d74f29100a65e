"""Watched folders: what a poll finds, and that a watch goes on, also where there is nothing yet."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.runners.sdf_utils import RestrictionTrackerView, ThreadsafeRestrictionTracker

from pipeline.stream import watch as watching
from pipeline.stream.watch import Seen


@pytest.fixture(autouse=True)
def _not_stopping() -> Iterator[None]:
    watching.stopping.clear()
    yield
    watching.stopping.clear()


def poll(seen: Seen, *patterns: str | Path) -> tuple[list[str], Seen | None]:
    """The names that a poll yields, and what it leaves to the next one; None: the watch has ended."""
    watch: Any = watching._Watch(5)
    tracker = ThreadsafeRestrictionTracker(watch.create_tracker(seen))
    estimator = ManualWatermarkEstimator(None)
    found = watch.process(tuple(map(os.fsencode, patterns)), RestrictionTrackerView(tracker), estimator)
    names = sorted(os.path.basename(item.value.path) for item in found)
    assert tracker.check_done() is not False
    status = tracker.deferred_status()
    return names, status[0] if status else None


def test_an_empty_folder_is_watched_on(tmp_path: Path) -> None:
    names, seen = poll(Seen(), tmp_path)
    assert names == []
    assert seen == Seen()
    (tmp_path / "a").write_bytes(b"x")
    assert seen is not None
    assert poll(seen, tmp_path)[0] == ["a"]


def test_a_file_is_found_once_and_a_hidden_one_when_it_is_renamed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / ".b").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    names, seen = poll(Seen(), tmp_path, tmp_path / "*")
    assert names == ["a"]
    assert seen is not None
    (tmp_path / "a").write_bytes(b"more")
    (tmp_path / ".b").rename(tmp_path / "b")
    names, seen = poll(seen, tmp_path)
    assert names == ["b"]
    assert seen is not None
    assert poll(seen, tmp_path)[0] == []


def test_a_file_is_one_under_all_its_paths(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    (folder / "a").write_bytes(b"x")
    (folder / "same").symlink_to(folder / "a")
    patterns = [folder, f"{folder}/", f"{tmp_path}/./folder/*", tmp_path / "link", f"{tmp_path}/link/*"]
    names, seen = poll(Seen(), *patterns)
    assert len(names) == 1
    assert seen is not None
    (folder / "b").write_bytes(b"x")
    names, seen = poll(seen, *reversed(patterns))
    assert names == ["b"]
    assert seen is not None
    assert poll(seen, *patterns)[0] == []


def test_a_stop_lists_the_folder_once_more(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    watching.stopping.set()
    assert poll(Seen(), tmp_path) == (["a"], None)


def test_what_cannot_be_listed_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a").write_bytes(b"x")
    names, seen = poll(Seen(), "nothing://x/*", tmp_path)
    assert names == ["a"]
    assert seen is not None
    assert [record.message.endswith("it is tried again") for record in caplog.records] == [True]


def test_a_poll_whose_work_was_split_off_yields_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    tracker = watching._SeenTracker(Seen())
    assert tracker.try_split(0) == (Seen(), Seen())
    assert not tracker.try_claim([b"a"])
    assert tracker.current_restriction() == Seen()
    assert tracker.try_split(0) is None


def test_a_poll_tells_its_progress() -> None:
    tracker = watching._SeenTracker(Seen())
    progress = ThreadsafeRestrictionTracker(tracker).current_progress()
    assert (progress.completed_work, progress.remaining_work) == (0, 1)
    tracker.try_split(0)
    assert tracker.current_progress().fraction_completed == 1
