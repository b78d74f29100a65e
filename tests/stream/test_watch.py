"""Watched folders: what a poll finds, and that a watch goes on, also where there is nothing yet."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.runners.sdf_utils import RestrictionTrackerView, ThreadsafeRestrictionTracker

from pipeline.engine.local_run import local_run
from pipeline.storage.files import InputFile
from pipeline.stream import watch as watching
from pipeline.stream.watch import POLL_SECONDS, REMOTE_POLL_SECONDS, SETTLE_SECONDS, Seen, poll_seconds


class Clock:
    """The watch's time, which passes when told to, or when the watch sleeps."""

    def __init__(self) -> None:
        self.now = time.time()
        self.worked = 0.0
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    def thread_time(self) -> float:
        return self.worked

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """For all of a test."""
    it = Clock()
    monkeypatch.setattr(watching, "time", it)
    return it


@pytest.fixture(autouse=True)
def _not_stopping() -> Iterator[None]:
    local_run.stopping.clear()
    yield
    local_run.stopping.clear()


def poll_at_pace(seconds: float, seen: Seen, *patterns: str | Path) -> tuple[list[str], Any]:
    """The names that a poll yields, and what it defers: to the next one, and how long. None: the watch has ended."""
    watch: Any = watching._Watch(seconds)
    tracker = ThreadsafeRestrictionTracker(watch.create_tracker(seen))
    estimator = ManualWatermarkEstimator(None)
    found = watch.process(tuple(map(os.fsencode, patterns)), RestrictionTrackerView(tracker), estimator)
    names = sorted(os.path.basename(item.value.path) for item in found)
    assert tracker.check_done() is not False
    return names, tracker.deferred_status()


def poll(seen: Seen, *patterns: str | Path) -> tuple[list[str], Seen | None]:
    """The names that a poll yields, and what it leaves to the next one; None: the watch has ended."""
    names, status = poll_at_pace(0, seen, *patterns)
    return names, status[0] if status else None


def put(path: Path, data: bytes = b"x", modified: int = 1617393003) -> None:
    """Writes a file that was last written at a time, long ago."""
    path.write_bytes(data)
    os.utime(path, (modified, modified))


def just_now() -> int:
    """The time of a file that is being written, however slow the test is: a writer's clock is an hour ahead."""
    return int(time.time()) + 3600


def test_an_empty_folder_is_watched_on(tmp_path: Path) -> None:
    names, seen = poll(Seen(), tmp_path)
    assert names == []
    assert seen is not None
    assert (seen.paths, seen.growing) == (frozenset(), ())
    put(tmp_path / "a")
    assert poll(seen, tmp_path)[0] == ["a"]


def test_a_file_is_found_once_and_a_hidden_one_when_it_is_renamed(tmp_path: Path) -> None:
    put(tmp_path / "a")
    put(tmp_path / ".b")
    (tmp_path / "folder").mkdir()
    names, seen = poll(Seen(), tmp_path, tmp_path / "*")
    assert names == ["a"]
    assert seen is not None
    put(tmp_path / "a", b"more")
    (tmp_path / ".b").rename(tmp_path / "b")
    names, seen = poll(seen, tmp_path)
    assert names == ["b"]
    assert seen is not None
    assert poll(seen, tmp_path)[0] == []


def test_a_file_is_one_under_all_its_paths(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    put(folder / "a")
    (folder / "same").symlink_to(folder / "a")
    patterns = [folder, f"{folder}/", f"{tmp_path}/./folder/*", tmp_path / "link", f"{tmp_path}/link/*"]
    names, seen = poll(Seen(), *patterns)
    assert len(names) == 1
    assert seen is not None
    put(folder / "b")
    names, seen = poll(seen, *reversed(patterns))
    assert names == ["b"]
    assert seen is not None
    assert poll(seen, *patterns)[0] == []


def test_a_stop_lists_the_folder_once_more(tmp_path: Path) -> None:
    put(tmp_path / "a")
    local_run.stopping.set()
    assert poll(Seen(), tmp_path) == (["a"], None)


def test_what_cannot_be_listed_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path / "a")
    names, seen = poll(Seen(), "nothing://x/*", tmp_path)
    assert names == ["a"]
    assert seen is not None
    assert [record.message.endswith("it is tried again") for record in caplog.records] == [True]


def test_a_poll_whose_work_was_split_off_yields_nothing(tmp_path: Path) -> None:
    put(tmp_path / "a")
    tracker = watching._SeenTracker(Seen())
    assert tracker.try_split(0) == (Seen(), Seen())
    assert not tracker.try_claim(Seen(frozenset([b"a"])))
    assert tracker.current_restriction() == Seen()
    assert tracker.try_split(0) is None


def test_a_poll_tells_its_progress() -> None:
    tracker = watching._SeenTracker(Seen())
    progress = ThreadsafeRestrictionTracker(tracker).current_progress()
    assert (progress.completed_work, progress.remaining_work) == (0, 1)
    tracker.try_split(0)
    assert tracker.current_progress().fraction_completed == 1


def test_a_file_that_grows_is_waited_for(tmp_path: Path, clock: Clock) -> None:
    now = just_now()
    put(tmp_path / "a", b"1", now)
    put(tmp_path / "old")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    names, seen = poll(Seen(), tmp_path)
    assert names == ["old"]
    writes = [(b"12", now), (b"123", now), (b"321", now + 1)]  # the last: of the same size
    for data, modified in writes:
        put(tmp_path / "a", data, modified)
        clock.now += SETTLE_SECONDS
        assert seen is not None
        names, seen = poll(seen, tmp_path)
        assert names == []
    clock.now += SETTLE_SECONDS
    assert seen is not None
    names, seen = poll(seen, tmp_path)
    assert len(names) == 1
    assert seen is not None
    assert (poll(seen, tmp_path)[0], seen.growing) == ([], ())


def test_a_file_must_look_the_same_for_a_while_however_often_it_is_looked_at(tmp_path: Path, clock: Clock) -> None:
    put(tmp_path / "a", modified=just_now())
    seen: Seen | None = Seen()
    for _ in range(4):
        assert seen is not None
        names, seen = poll(seen, tmp_path)
        assert names == []
        clock.now += SETTLE_SECONDS / 4
    assert seen is not None
    assert poll(seen, tmp_path)[0] == ["a"]


def test_a_clock_that_is_put_back_delays_a_file_no_longer_than_others(tmp_path: Path, clock: Clock) -> None:
    put(tmp_path / "a", modified=just_now())
    seen = poll(Seen(), tmp_path)[1]
    clock.now -= 3000
    assert seen is not None
    names, seen = poll(seen, tmp_path)
    assert names == []
    clock.now += SETTLE_SECONDS
    assert seen is not None
    assert poll(seen, tmp_path)[0] == ["a"]


def test_a_file_written_long_enough_ago_is_read_at_once(tmp_path: Path, clock: Clock) -> None:
    put(tmp_path / "a", modified=int(clock.now - SETTLE_SECONDS) - 1)
    put(tmp_path / "b", modified=int(clock.now - SETTLE_SECONDS) + 1)
    assert poll(Seen(), tmp_path)[0] == ["a"]


def test_a_file_that_is_gone_again_is_not_waited_for(tmp_path: Path) -> None:
    put(tmp_path / "a", modified=just_now())
    seen = poll(Seen(), tmp_path)[1]
    assert seen is not None
    assert len(seen.growing) == 1
    (tmp_path / "a").unlink()
    names, seen = poll(seen, tmp_path)
    assert seen is not None
    assert (names, seen.growing) == ([], ())


def test_a_stop_waits_for_what_has_just_been_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    for name in "ab":
        put(tmp_path / name, modified=just_now())
    local_run.stopping.set()
    names, seen = poll(Seen(), tmp_path)
    assert names == []
    clock.now += SETTLE_SECONDS / 2
    put(tmp_path / "b", b"more", just_now())
    put(tmp_path / "c", modified=just_now())  # came after the stop
    assert seen is not None
    names, seen = poll(seen, tmp_path)
    assert names == []
    clock.now += SETTLE_SECONDS / 2
    put(tmp_path / "d", modified=just_now())
    assert seen is not None
    assert poll(seen, tmp_path) == (["a"], None)
    left = [f"{tmp_path}/{name} is still being written: it was left out" for name in "bcd"]
    assert sorted(record.message for record in caplog.records) == left


def test_a_stop_ends_at_the_first_poll_at_which_nothing_grows(tmp_path: Path, clock: Clock) -> None:
    put(tmp_path / "a", modified=just_now())
    seen = poll(Seen(), tmp_path)[1]
    clock.now += SETTLE_SECONDS / 2
    local_run.stopping.set()
    assert seen is not None
    names, seen = poll(seen, tmp_path)
    assert names == []
    clock.now += SETTLE_SECONDS / 2
    assert seen is not None
    assert poll(seen, tmp_path) == (["a"], None)


def test_objects_of_buckets_are_whole() -> None:
    file = InputFile("gs://b/a", 1, "a", just_now())
    assert watching._settled({b"a": file}, {}, time.time()) == ([file], {})


def test_a_poll_that_comes_too_soon_waits(tmp_path: Path, clock: Clock) -> None:
    for ago in (3600, 1, -3600):  # the last: a clock was put back
        poll_at_pace(500, Seen(polled=clock.now - ago), tmp_path)
    assert clock.slept == [499, 500]


def test_a_folder_is_listed_as_often_as_its_reports_need_it() -> None:
    assert [poll_seconds(["/a/*"], seconds) for seconds in (1, 2, 60)] == [0.25, 0.5, POLL_SECONDS]
    assert poll_seconds(["/a/*", "gs://b/*"], 1) == REMOTE_POLL_SECONDS


@pytest.mark.parametrize(("listing", "pause"), [(0.01, 0.25), (0.1, 0.5), (20, POLL_SECONDS)])
def test_a_long_listing_is_made_less_often(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, listing: float, pause: float
) -> None:
    listed = watching._new_files

    def slow(*arguments: Any) -> Any:
        clock.now += 60  # in which it waits for others
        clock.worked += listing
        return listed(*arguments)

    monkeypatch.setattr(watching, "_new_files", slow)
    _, status = poll_at_pace(0.25, Seen(), tmp_path)
    assert float(status[1]) == pytest.approx(pause, abs=1e-3)
