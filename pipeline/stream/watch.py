"""Watches folders: finds each file once, as it appears, until the watch is stopped."""

import dataclasses
import os
import posixpath
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Duration, Timestamp

from pipeline.engine.run_state import run_state
from pipeline.errors import UsageError
from pipeline.model.latency import steady_time
from pipeline.storage.files import InputFile, is_local, printable_path
from pipeline.storage.matching import match_files
from pipeline.storage.patterns import has_magic
from pipeline.stream.database import warn_once
from pipeline.stream.job import StreamJob
from pipeline.stream.ledger import Ledger, Stamp, ledger_of, path_key, stamp_of

POLL_SECONDS = 1.0
"""How often a folder on this machine is listed, at least."""

POLLS_A_PANE = 4
"""Polls between two reports that are seconds apart: with one a second the p99 of delays was 2.7 s, with four 1.8 s."""

SETTLE_SECONDS = 1.0
"""For how long the size and time of a local file must be unchanged before it is read."""

_LISTING_SHARE = 0.2  # of a core, for polls that are less than POLL_SECONDS apart

_RECHECK_SHARE = 0.05  # of a core, for checking known files again

REMOTE_POLL_SECONDS = 10.0
"""How often a bucket is listed: each listing is paid for."""

_GAP_SECONDS = 60
"""Between two polls, after which the stream counts as restarted: files of the gap are not late."""

Growing = dict[bytes, tuple[Stamp, float]]
"""Files that may still be written, by key: their stamps, and since when they have them, Unix seconds."""


class Seen(NamedTuple):
    """The state of a watch, which its runner keeps. (Beam ends a watch whose restriction is falsy.)

    Attributes:
      known: files that are present and were handed out, by key; empty where the ledger has them.
      growing: files that are not yet handed out, items of Growing.
      polled: when the last poll ended. All times in Unix seconds.
      since: when the first poll began, or the first one after a gap.
      watermark: of the last poll.
      stopped: when the stop was seen, 0 before.
    """

    known: tuple[tuple[bytes, Stamp], ...] = ()
    growing: tuple[tuple[bytes, tuple[Stamp, float]], ...] = ()
    polled: float = 0
    since: float = 0
    watermark: float = 0
    stopped: float = 0


class _SeenTracker(RestrictionTracker):  # type: ignore[misc]
    """Keeps what a poll has found in the checkpoint that hands it out, so that no file is lost or read twice."""

    def __init__(self, seen: Seen) -> None:
        self._seen, self._done = seen, False

    def current_restriction(self) -> Seen:
        return self._seen

    def current_progress(self) -> RestrictionProgress:
        """The progress of a poll: Beam logs a traceback where a tracker has none after 100 ms."""
        return RestrictionProgress(completed=int(self._done), remaining=int(not self._done))

    def try_claim(self, seen: Seen) -> bool:
        if not self._done:
            self._seen = seen
        return not self._done

    def try_split(self, fraction_of_remainder: float) -> tuple[Seen, Seen] | None:
        if self._done:
            return None
        self._done = True
        return self._seen, self._seen

    def check_done(self) -> None:
        pass

    def is_bounded(self) -> bool:
        return False


class _Watch(beam.DoFn, RestrictionProvider):  # type: ignore[misc]
    """Polls patterns, in bytes as coders need them, and yields new files; the restriction is the state of the watch.

    Args:
      seconds: between polls.
      allowed: lateness in seconds. For so long after a start, and after a gap, the watermark stays where it was, so
        that hours that were over by then do not close before their events are found.
      folder: of the ledger, or None.
    """

    def __init__(self, seconds: float, allowed: int | None, folder: str | None) -> None:
        self._seconds, self._allowed, self._folder = seconds, allowed, folder
        self._listing = _Listing()

    def initial_restriction(self, patterns: tuple[bytes, ...]) -> Seen:
        return Seen()

    def create_tracker(self, restriction: Seen) -> _SeenTracker:
        return _SeenTracker(restriction)

    def restriction_size(self, patterns: tuple[bytes, ...], restriction: Seen) -> int:
        return 1

    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator]
    def process(
        self,
        patterns: tuple[bytes, ...],
        tracker: Any = beam.DoFn.RestrictionParam(),
        watermark: Any = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider()),
    ) -> Iterator[TimestampedValue]:
        seen: Seen = tracker.current_restriction()
        ledger = None if self._folder is None else ledger_of(self._folder)
        _wait_until(seen.polled + self._seconds, self._seconds)
        now, spent = steady_time(), time.thread_time()
        stopped = min(seen.stopped or now, now) if run_state.stopping.is_set() else 0
        known = dict(ledger.known if ledger else seen.known)
        found, present = self._listing.find(map(os.fsdecode, patterns), known, bool(stopped))
        files, stamps, growing = _sort_files(found, known, dict(seen.growing), ledger, now)
        gone = known.keys() - present
        pause = max(self._seconds, min((time.thread_time() - spent) / _LISTING_SHARE, POLL_SECONDS))
        since = now if now - seen.polled > _GAP_SECONDS else seen.since
        is_held = self._allowed is not None and now < since + self._allowed
        mark = seen.watermark if is_held else max(seen.watermark, now)
        kept = () if ledger else tuple(_updated(known, gone, stamps).items())
        if not tracker.try_claim(Seen(kept, tuple(growing.items()), steady_time(), since, mark, stopped)):
            return
        if ledger:
            _updated(ledger.known, gone, stamps)
        for key, file in files:
            if ledger:
                ledger.hand_out(file, key, now)
            is_any_version = not ledger and is_local(file.path)  # it may be touched before it is read
            yield TimestampedValue(file._replace(version=None) if is_any_version else file, Timestamp.of(mark))
        watermark.set_watermark(Timestamp.of(mark))
        if stopped and (not growing or now - stopped >= SETTLE_SECONDS):
            for key in growing:
                warn_once(f"{found[key].name} is still being written: it was left out")
        else:
            tracker.defer_remainder(Duration(pause))


def _updated(known: dict[bytes, Stamp], gone: Iterable[bytes], stamps: Mapping[bytes, Stamp]) -> dict[bytes, Stamp]:
    for key in gone:
        known.pop(key, None)
    known.update(stamps)
    return known


def poll_seconds(patterns: Iterable[str], early_firing_seconds: int) -> float:
    """The seconds between two polls of patterns, in a stream that reports so often."""
    if not all(map(is_local, patterns)):
        return REMOTE_POLL_SECONDS
    return min(POLL_SECONDS, early_firing_seconds / POLLS_A_PANE)


def _wait_until(due: float, most: float) -> None:
    """Waits where an engine polls too soon: Flink without checkpoints does not defer. due: Unix seconds."""
    early = due - steady_time()
    if early > 0:
        time.sleep(min(early, most))


class _Listing:
    """Lists folders; caches the keys of real paths."""

    def __init__(self) -> None:
        self._keys: dict[str, bytes] = {}
        self._due = 0.0

    def find(
        self, patterns: Iterable[str], known: Mapping[bytes, Stamp], all_files: bool
    ) -> tuple[dict[bytes, InputFile], set[bytes]]:
        """Returns the files that are not known, from time to time all, under their real paths; and the keys of all."""
        start = time.thread_time()
        all_files |= steady_time() >= self._due
        keys: dict[str, bytes] = {}
        real_paths: dict[str, str] = {}
        folders: dict[str, str] = {}

        def wanted(path: str) -> bool:
            if path not in real_paths:
                real = real_paths[path] = self._real_path(path, folders, all_files)
                keys[real] = self._keys.get(real) or path_key(real)
            return all_files or keys[real_paths[path]] not in known

        found, complete = [], True
        for pattern in patterns:
            matched, was_listed = _match(pattern, wanted)
            found += matched
            complete &= was_listed
        self._keys = keys if complete else self._keys | keys
        if all_files:
            self._due = steady_time() + (time.thread_time() - start) / _RECHECK_SHARE
        files: dict[bytes, InputFile] = {}
        for file in found:
            real = real_paths[file.path]
            files.setdefault(keys[real], file if file.path == real else file._replace(path=real))
        return files, {*self._keys.values()}

    def _real_path(self, path: str, folders: dict[str, str], all_files: bool) -> str:
        """Resolves a path. folders: real paths of folders, a cache."""
        if not is_local(path):
            return path
        folder, slash, name = path.rpartition("/")
        if folder not in folders:
            folders[folder] = os.path.realpath(folder + slash or ".").rstrip("/")
        real = f"{folders[folder]}/{name}"
        is_new = all_files or real not in self._keys
        return os.path.realpath(path) if is_new and os.path.islink(path) else real


def _match(pattern: str, wanted: Any) -> tuple[list[InputFile], bool]:
    """Returns the wanted files of a pattern, and whether all of it could be listed; warns once of what could not."""
    errors: list[UsageError] = []
    folder = pattern if not has_magic(pattern) else posixpath.dirname(pattern) or "."
    if is_local(pattern) and not has_magic(folder) and not os.path.exists(folder):
        errors.append(UsageError(f"{printable_path(folder)}: the folder is gone"))
    try:
        files = match_files(pattern, wanted, errors.append)
    except UsageError as error:
        files = []
        errors.append(error)
    for one in errors:
        warn_once(f"{one}; it is tried again")
    return files, not errors


def _sort_files(
    found: Mapping[bytes, InputFile], known: Mapping[bytes, Stamp], before: Growing, ledger: Ledger | None, now: float
) -> tuple[list[tuple[bytes, InputFile]], dict[bytes, Stamp], Growing]:
    """Returns the files to hand out, the stamps of files that are known from now on, and the growing files.

    Objects of a bucket are whole, and files whose stamp is unchanged for SETTLE_SECONDS, whatever their time: the clock
    of a file server may be another. A file without a byte is not yet written. Warns once of known files that changed.
    """
    files: list[tuple[bytes, InputFile]] = []
    stamps: dict[bytes, Stamp] = {}
    growing: Growing = {}
    counted_files = ledger.find(found.keys() - known.keys()) if ledger else {}
    for key, file in found.items():
        stamp = stamp_of(file)
        if known.get(key) == stamp:
            continue
        counted, is_done = (known[key], True) if key in known else counted_files.get(key, (stamp, False))
        if counted != stamp:
            warn_once(f"{file.name}: has changed since it was read: nothing of it is counted again")
        if is_done or counted != stamp:
            stamps[key] = stamp
        elif file.size:
            since = before[key][1] if before.get(key, (None, 0))[0] == stamp else now
            is_open = ledger is not None and file.name in ledger.open  # another file with the same printable path
            if (is_local(file.path) and now - since < SETTLE_SECONDS) or is_open:
                growing[key] = stamp, since
            else:
                files.append((key, file))
                stamps[key] = stamp
    return files, stamps, growing


@dataclasses.dataclass
class WatchFiles(beam.PTransform):  # type: ignore[misc]
    """Finds files as they appear: Pipeline -> PCollection[InputFile], unbounded, each file once.

    Patterns are globs or folders; hidden files (a leading dot) are ignored, so that a file can appear by a rename. A
    file that is written in place is found when it is unchanged for SETTLE_SECONDS. Timestamps and watermark are the
    time of a poll; with allowed lateness they stay at their beginning for a while after the start.
    """

    job: StreamJob

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[InputFile]:
        job = self.job
        pause = poll_seconds(job.patterns, job.early_firing_seconds)
        watch = _Watch(pause, job.allowed_lateness_seconds, job.output if job.ledger else None)
        return (
            pipeline
            | "Patterns" >> beam.Create([tuple(map(os.fsencode, job.patterns))], reshuffle=False)
            | "Watch" >> beam.ParDo(watch).with_output_types(InputFile)
        )
