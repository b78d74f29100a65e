"""Watched folders: what a poll finds, and that a watch goes on, also where there is nothing yet."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.runners.sdf_utils import RestrictionTrackerView, ThreadsafeRestrictionTracker

from pipeline.engine.run_state import run_state
from pipeline.storage.files import InputFile
from pipeline.stream import watch as watching
from pipeline.stream.database import warn_once
from pipeline.stream.ledger import Contribution, open_ledger
from pipeline.stream.watch import (
    MAX_POLL_INTERVAL_SECONDS,
    REMOTE_POLL_INTERVAL_SECONDS,
    SETTLE_SECONDS,
    WatchState,
    poll_interval,
)


class Clock:
    """The watch's time, which passes when told to, or when the watch sleeps."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.worked = 0.0
        self.slept: list[float] = []

    def steady_time(self) -> float:
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
    monkeypatch.setattr(watching, "steady_time", it.steady_time)
    warn_once.cache_clear()
    return it


@pytest.fixture(autouse=True)
def _not_stopping() -> Iterator[None]:
    run_state.stopping.clear()
    yield
    run_state.stopping.clear()


class Watching:
    """A watch of patterns, poll by poll.

    Attributes:
      seen: what the next poll begins with; None: the watch has ended.
      pause: how long that is deferred, in seconds.
      mark: the watermark. found: when the files of the last poll were found, by that.
    """

    def __init__(
        self, *patterns: str | Path, seconds: float = 0, allowed: int | None = None, folder: Any = None
    ) -> None:
        self.patterns = tuple(map(os.fsencode, patterns))
        self.watch: Any = watching._Watch(seconds, allowed, folder and str(folder))
        self.seen: WatchState | None = WatchState()
        self.estimator = ManualWatermarkEstimator(None)

    def poll(self) -> list[str]:
        """The names that a poll yields."""
        tracker = ThreadsafeRestrictionTracker(self.watch.create_tracker(self.seen))
        items = list(self.watch.process(self.patterns, RestrictionTrackerView(tracker), self.estimator))
        assert tracker.check_done() is not False
        status: Any = tracker.deferred_status()
        self.seen, self.pause = (status[0], float(status[1])) if status else (None, 0.0)
        self.found = {float(item.timestamp) for item in items}
        self.mark = float(self.estimator.current_watermark())
        self.paths = sorted(item.value.path for item in items)
        return sorted(os.path.basename(item.value.name) for item in items)

    def settled(self, clock: Clock) -> list[str]:
        """The names after two polls, as far apart as files need."""
        first = self.poll()
        clock.now += SETTLE_SECONDS
        return first + self.poll()


def put(path: Path, data: bytes = b"x", modified: int = 1617393003) -> None:
    """Writes a file that was last written at a time, long ago."""
    path.write_bytes(data)
    os.utime(path, (modified, modified))


def test_an_empty_folder_is_watched_on(tmp_path: Path, clock: Clock) -> None:
    watch = Watching(tmp_path)
    assert watch.poll() == []
    assert watch.seen is not None
    assert (watch.seen.known, watch.seen.unsettled) == ({}, {})
    put(tmp_path / "a")
    assert watch.settled(clock) == ["a"]


def test_a_file_is_found_once_and_a_hidden_one_when_it_is_renamed(tmp_path: Path, clock: Clock) -> None:
    put(tmp_path / "a")
    put(tmp_path / ".b")
    (tmp_path / "folder").mkdir()
    watch = Watching(tmp_path, tmp_path / "*")
    assert watch.settled(clock) == ["a"]
    (tmp_path / ".b").rename(tmp_path / "b")
    assert watch.settled(clock) == ["b"]
    assert watch.settled(clock) == []


def test_a_file_is_one_under_all_its_paths(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    put(folder / "a")
    (folder / "same").symlink_to(folder / "a")
    watch = Watching(folder, f"{folder}/", f"{tmp_path}/./folder/*", tmp_path / "link", f"{tmp_path}/link/*")
    assert len(watch.settled(clock)) == 1
    assert watch.paths == [f"{folder}/a"]
    put(folder / "b")
    watch.patterns = watch.patterns[::-1]
    assert watch.settled(clock) == ["b"]
    (folder / "same").unlink()
    (tmp_path / "link").unlink()
    assert watch.settled(clock) == []


def test_a_link_that_leads_elsewhere_is_another_file(tmp_path: Path, clock: Clock) -> None:
    for day in ("one", "two"):
        (tmp_path / day).mkdir()
        put(tmp_path / day / "a")
    (tmp_path / "today").symlink_to("one")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "last").symlink_to("../one/a")
    watch = Watching(tmp_path / "today", tmp_path / "in")
    assert len(watch.settled(clock)) == 1
    for link, target in (("today", "two"), ("in/last", "../two/a")):
        (tmp_path / link).unlink()
        (tmp_path / link).symlink_to(target)
    assert len(watch.settled(clock)) == 1
    assert watch.paths == [f"{tmp_path}/two/a"]


def test_what_is_gone_is_forgotten(tmp_path: Path, clock: Clock) -> None:
    for number in range(9):
        put(tmp_path / str(number))
    watch = Watching(tmp_path)
    assert len(watch.settled(clock)) == 9
    assert watch.seen is not None
    assert len(watch.seen.known) == 9
    for number in range(8):
        (tmp_path / str(number)).unlink()
    put(tmp_path / "new")
    watch.poll()
    assert (len(watch.seen.known), len(watch.seen.unsettled), len(watch.watch._lister._keys)) == (1, 1, 2)
    (tmp_path / "new").unlink()
    watch.poll()
    assert (len(watch.seen.known), len(watch.seen.unsettled), len(watch.watch._lister._keys)) == (1, 0, 1)


def test_where_a_folder_cannot_be_listed_nothing_is_forgotten(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in").mkdir()
    put(tmp_path / "in" / "a")
    watch = Watching("nothing://x/*", tmp_path / "in" / "*")
    assert watch.settled(clock) == ["a"]
    (tmp_path / "in").rename(tmp_path / "away")
    assert watch.settled(clock) == []
    (tmp_path / "away").rename(tmp_path / "in")
    assert watch.settled(clock) == []
    assert [record.message for record in caplog.records] == [
        "nothing://x/*: unknown storage nothing://; retrying",
        f"{tmp_path}/in: folder no longer exists; retrying",
    ]


@pytest.mark.parametrize("ledger", [False, True])
def test_a_file_that_has_changed_is_told_once(
    ledger: bool, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in").mkdir()
    put(tmp_path / "in" / "a")
    told = [f"{tmp_path}/in/a: changed after it was read; the new content is ignored"]
    with open_ledger(str(tmp_path), {}) if ledger else contextlib.nullcontext():
        watch = Watching(tmp_path / "in", folder=tmp_path if ledger else None)
        assert watch.settled(clock) == ["a"]
        for data in (b"more", b"and more"):
            put(tmp_path / "in" / "a", data)
            assert watch.settled(clock) == []
            assert [record.message for record in caplog.records] == told


def test_what_the_ledger_knows_is_not_read(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("done", "partly", "changed", "torn", "gone"):
        put(tmp_path / "in" / name)
    with open_ledger(str(tmp_path), {}) as ledger:
        watch = Watching(tmp_path / "in", folder=tmp_path)
        assert watch.settled(clock) == ["changed", "done", "gone", "partly", "torn"]
        assert watch.seen is not None
        assert (watch.seen.known, len(ledger.known)) == ({}, 5)
        files = {os.path.basename(name): file for name, file in ledger.open.items()}
        ledger.add(Contribution(blocks=[(files[name], "x", files[name].missing, True) for name in ("done", "changed")]))
        ledger.add(Contribution(blocks=[(files[name], "x", 1, True) for name in ("partly", "torn", "gone")]))
    put(tmp_path / "in" / "changed", b"appended")
    put(tmp_path / "in" / "torn", b"appended")
    put(tmp_path / "in" / "new")
    (tmp_path / "in" / "gone").unlink()
    monkeypatch.chdir(tmp_path)
    with open_ledger(".", {}) as ledger:
        watch = Watching("in/*", folder=".")
        assert watch.settled(clock) == ["new", "partly"]
        assert {name: file.counted for name, file in ledger.open.items()} == {"in/new": set(), "in/partly": {"x"}}
        assert watch.paths == [f"{tmp_path}/in/new", f"{tmp_path}/in/partly"]
        ledger.abandon_file("in/new", "no")
        assert watch.settled(clock) == ["new"]
    assert sorted(record.message for record in caplog.records if "retrying" not in record.message) == [
        "1 file counted in part by an earlier run cannot be found; reports lack the remaining events",
        "in/changed: changed after it was read; the new content is ignored",
        "in/torn: changed after a part of it was counted; the new content is ignored",
    ]


def test_files_with_the_same_printable_name_are_read_one_after_the_other(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "in").mkdir()
    for name in (b"a\\xff", b"a\xff"):
        Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/" + name)).write_text("text")
    with open_ledger(str(tmp_path), {}) as ledger:
        watch = Watching(tmp_path / "in", folder=tmp_path)
        assert len(watch.settled(clock)) == 1
        assert watch.settled(clock) == []
        (file,) = ledger.open.values()
        ledger.add(Contribution(blocks=[(file, "x", file.missing, True)]))
        assert len(watch.settled(clock)) == 1


def test_a_stop_lists_the_folder_once_more(tmp_path: Path, clock: Clock) -> None:
    put(tmp_path / "a")
    watch = Watching(tmp_path)
    run_state.stopping.set()
    assert watch.settled(clock) == ["a"]
    assert watch.seen is None


def test_a_poll_whose_work_was_split_off_yields_nothing() -> None:
    tracker = watching._WatchTracker(WatchState())
    assert tracker.try_split(0) == (WatchState(), WatchState())
    assert not tracker.try_claim(WatchState(polled=1))
    assert tracker.current_restriction() == WatchState()
    assert tracker.try_split(0) is None


@pytest.mark.parametrize("modified", [1617393003, 1_900_000_000], ids=["old", "of the future"])
def test_a_file_that_grows_is_waited_for_whatever_its_time_says(modified: int, tmp_path: Path, clock: Clock) -> None:
    put(tmp_path / "a", b"1", modified)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    watch = Watching(tmp_path)
    assert watch.poll() == []
    for data, time in ((b"12", modified), (b"123", modified), (b"321", modified + 1)):  # the last: of the same size
        put(tmp_path / "a", data, time)
        clock.now += SETTLE_SECONDS
        assert watch.poll() == []
    clock.now += SETTLE_SECONDS
    assert len(watch.poll()) == 1
    assert watch.seen is not None
    assert watch.seen.unsettled == {}


def test_a_file_must_look_the_same_for_a_while_however_often_it_is_looked_at(tmp_path: Path, clock: Clock) -> None:
    put(tmp_path / "a")
    watch = Watching(tmp_path)
    for _ in range(4):
        assert watch.poll() == []
        clock.now += SETTLE_SECONDS / 4
    assert watch.poll() == ["a"]


def test_an_empty_file_is_yet_to_be_written(tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path / "a", b"")
    watch = Watching(tmp_path)
    assert watch.settled(clock) == []
    put(tmp_path / "a", b"filled")
    assert watch.settled(clock) == ["a"]
    put(tmp_path / "b", b"")
    run_state.stopping.set()
    watch.poll()
    assert (watch.seen, caplog.records) == (None, [])


def test_a_stop_waits_for_what_has_just_been_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    for name in "ab":
        put(tmp_path / name)
    run_state.stopping.set()
    watch = Watching(tmp_path)
    assert watch.poll() == []
    clock.now += SETTLE_SECONDS / 2
    put(tmp_path / "b", b"more")
    put(tmp_path / "c")  # came after the stop
    assert watch.poll() == []
    clock.now += SETTLE_SECONDS / 2
    put(tmp_path / "d")
    assert watch.poll() == ["a"]
    assert watch.seen is None
    left = [f"skipped {tmp_path}/{name}: still being written when the stream stopped" for name in "bcd"]
    assert sorted(record.message for record in caplog.records) == left


def test_a_stop_ends_at_the_first_poll_at_which_nothing_grows(tmp_path: Path, clock: Clock) -> None:
    put(tmp_path / "a")
    watch = Watching(tmp_path)
    watch.poll()
    clock.now += SETTLE_SECONDS / 2
    run_state.stopping.set()
    assert watch.poll() == []
    clock.now += SETTLE_SECONDS / 2
    assert watch.poll() == ["a"]
    assert watch.seen is None


def test_objects_of_buckets_are_whole() -> None:
    file = InputFile("gs://b/a", 1, "a", 1617393003)
    assert watching._split_settled({b"a": file}, {}, {}, None, 0) == ([(b"a", file)], {b"a": (1, 1617393003)}, {})


def test_a_poll_that_comes_too_soon_waits(tmp_path: Path, clock: Clock) -> None:
    for ago in (3600, 1, -3600):  # the last: a runner has moved the watch to another machine
        watch = Watching(tmp_path, seconds=500)
        watch.seen = WatchState(polled=clock.now - ago)
        watch.poll()
    assert clock.slept == [499, 500]


def test_the_watermark_is_the_time_of_polls_and_never_goes_back(tmp_path: Path, clock: Clock) -> None:
    put(tmp_path / "a")
    watch = Watching(tmp_path)
    watch.settled(clock)
    assert (watch.found, watch.mark) == ({clock.now}, clock.now)
    before = clock.now
    clock.now -= 3000
    watch.poll()
    assert watch.mark == before


def test_for_a_while_after_the_start_or_a_gap_no_hour_closes(tmp_path: Path, clock: Clock) -> None:
    watch, before = Watching(tmp_path, allowed=600), 0.0
    for name in ("first", "after a gap"):
        put(tmp_path / name)
        watch.poll()
        for _ in range(11):
            clock.now += 50
            assert watch.poll() in ([], [name])
            assert watch.found in (set(), {before})
            assert watch.mark == before
        clock.now += 50
        watch.poll()
        assert watch.mark == clock.now
        before = clock.now
        clock.now += 3600


def test_a_folder_is_listed_as_often_as_its_reports_need_it() -> None:
    assert [poll_interval(["/a/*"], seconds) for seconds in (1, 2, 60)] == [0.25, 0.5, MAX_POLL_INTERVAL_SECONDS]
    assert poll_interval(["/a/*", "gs://b/*"], 1) == REMOTE_POLL_INTERVAL_SECONDS


@pytest.mark.parametrize(("listing", "pause"), [(0.01, 0.25), (0.1, 0.5), (20, MAX_POLL_INTERVAL_SECONDS)])
def test_a_long_listing_is_made_less_often(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, listing: float, pause: float
) -> None:
    listed = watching._match

    def slow(*arguments: Any) -> Any:
        clock.now += 60  # in which it waits for others
        clock.worked += listing
        return listed(*arguments)

    monkeypatch.setattr(watching, "_match", slow)
    watch = Watching(tmp_path, seconds=0.25)
    watch.poll()
    assert watch.pause == pytest.approx(pause, abs=1e-3)
