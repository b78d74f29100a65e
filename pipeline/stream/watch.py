"""Watched folders: files are found as they appear, each once, until the watch is stopped."""

import dataclasses
import functools
import logging
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
from pipeline.stream.job import StreamJob
from pipeline.stream.ledger import Known, Ledger, Look, digest, ledger_of, look_of

POLL_SECONDS = 1.0
"""How often a folder on this machine is listed, at least."""

POLLS_A_PANE = 4
"""Polls between two reports, where these come often: with one a second the p99 of delays was 2.7 s, with four 1.8."""

SETTLE_SECONDS = 1.0
"""For how long a file on this machine must look the same before it is read."""

_LISTING_SHARE = 0.2  # of a core, if polls need not be more than POLL_SECONDS apart for it

_RECHECK_SHARE = 0.05  # of a core, for looking at files that were found before

REMOTE_POLL_SECONDS = 10.0
"""How often a bucket is listed: each listing is paid for."""

_GAP_SECONDS = 60
"""Between two polls, after which the stream was down: what came meanwhile is not found late for that."""

Growing = dict[bytes, tuple[Look, float]]
"""How files look that may still be written, and since when, Unix seconds; by digests of their paths."""


class Seen(NamedTuple):
    """What a watch has found, the state that its runner keeps. (Beam ends a watch whose restriction is falsy.)

    Attributes:
      known: files that are there and were handed out; empty where the ledger has them.
      growing: files that are not yet handed out, items of Growing.
      polled: when the last poll ended.
      since: when the first poll began, or the first one after a gap.
      watermark: of the last poll.
      stopped: when the stop was seen, 0 before. All times in Unix seconds.
    """

    known: tuple[tuple[bytes, Look], ...] = ()
    growing: tuple[tuple[bytes, tuple[Look, float]], ...] = ()
    polled: float = 0
    since: float = 0
    watermark: float = 0
    stopped: float = 0


class _SeenTracker(RestrictionTracker):  # type: ignore[misc]
    """What a poll has found is kept with the very checkpoint that hands it out, so no file is lost or read twice."""

    def __init__(self, seen: Seen) -> None:
        self._seen, self._done = seen, False

    def current_restriction(self) -> Seen:
        return self._seen

    def current_progress(self) -> RestrictionProgress:
        """Of a poll: Beam asks for it after 100 ms, and logs a traceback where there is none."""
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
    """Restrictions are what was found before. A poll yields what is new. Patterns are in bytes, as coders need them.

    Args:
      seconds: between polls.
      allowed: of lateness. For so long after a start, and after a gap, the watermark stays where it was, so that hours
        that were over by then do not close before their events are found.
      folder: of the ledger that knows which files were counted, or None.
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
        known = _known(seen, ledger)
        found, present = self._listing.find(map(os.fsdecode, patterns), known, bool(stopped))
        known = {key: look for key, look in known.items() if key in present}
        files, growing = _settled(found, known, dict(seen.growing), ledger, now)
        pause = max(self._seconds, min((time.thread_time() - spent) / _LISTING_SHARE, POLL_SECONDS))
        since = now if now - seen.polled > _GAP_SECONDS else seen.since
        held = self._allowed is not None and now < since + self._allowed
        mark = seen.watermark if held else max(seen.watermark, now)
        kept = () if ledger else tuple(known.items())
        if not tracker.try_claim(Seen(kept, tuple(growing.items()), steady_time(), since, mark, stopped)):
            return
        if ledger:
            ledger.known = known
        for key, file in files:
            if ledger:
                ledger.hand_out(file, key, now)
            is_same = not ledger and is_local(file.path)  # also if it is touched later
            as_found = file._replace(version=None) if is_same else file
            yield TimestampedValue(as_found, Timestamp.of(mark))
        watermark.set_watermark(Timestamp.of(mark))
        if stopped and (not growing or now - stopped >= SETTLE_SECONDS):
            _tell_left(found[key].name for key in growing)
        else:
            tracker.defer_remainder(Duration(pause))


def poll_seconds(patterns: Iterable[str], early_firing_seconds: int) -> float:
    """How often files of patterns are looked for, in a stream that reports so often."""
    if not all(map(is_local, patterns)):
        return REMOTE_POLL_SECONDS
    return min(POLL_SECONDS, early_firing_seconds / POLLS_A_PANE)


def _wait_until(due: float, most: float) -> None:
    """Waits where an engine calls too soon: Flink without checkpoints does not defer. Unix seconds; seconds."""
    early = due - steady_time()
    if early > 0:
        time.sleep(min(early, most))


def _known(seen: Seen, ledger: Ledger | None) -> dict[bytes, Look]:
    if ledger is None:
        return dict(seen.known)
    abandoned = ledger.take_abandoned()
    return {key: look for key, look in ledger.known.items() if key not in abandoned}


class _Listing:
    """Lists folders; remembers the keys of real paths, and when files that are known are looked at again."""

    def __init__(self) -> None:
        self._keys: dict[str, bytes] = {}
        self._due = 0.0

    def find(
        self, patterns: Iterable[str], known: Mapping[bytes, Look], all_files: bool
    ) -> tuple[dict[bytes, InputFile], set[bytes]]:
        """The files that are not known, from time to time all, under their real paths; and the keys of all."""
        start = time.thread_time()
        all_files |= steady_time() >= self._due
        keys: dict[str, bytes] = {}
        real_paths: dict[str, str] = {}
        folders: dict[str, str] = {}

        def wanted(path: str) -> bool:
            real = real_paths[path] = self._real_path(path, folders, all_files)
            key = keys[real] = self._keys.get(real) or digest(real)
            return all_files or key not in known

        found, complete = [], True
        for pattern in patterns:
            files, was_listed = _match(pattern, wanted)
            found += files
            complete &= was_listed
        self._keys = keys if complete else self._keys | keys
        if all_files:
            self._due = steady_time() + (time.thread_time() - start) / _RECHECK_SHARE
        located = ((real_paths[file.path], file) for file in found)
        return {keys[real]: file._replace(path=real) for real, file in reversed([*located])}, {*self._keys.values()}

    def _real_path(self, path: str, folders: dict[str, str], all_files: bool) -> str:
        """The path that all spellings of a file lead to. folders: real paths of folders, as far as they are known."""
        if not is_local(path):
            return path
        folder, slash, name = path.rpartition("/")
        if folder + slash not in folders:
            folders[folder + slash] = os.path.realpath(folder + slash or ".")
        real = posixpath.join(folders[folder + slash], name)
        is_new = all_files or real not in self._keys
        return os.path.realpath(path) if is_new and os.path.islink(path) else real


def _match(pattern: str, wanted: Any) -> tuple[list[InputFile], bool]:
    """The wanted files of a pattern; and whether all of it could be looked at. Says once what could not."""
    errors: list[UsageError] = []
    folder = pattern if not has_magic(pattern) else posixpath.dirname(pattern) or "."
    if is_local(pattern) and not has_magic(folder) and not os.path.exists(folder):
        errors.append(UsageError(f"{printable_path(folder)}: the folder is gone"))
    try:
        files = match_files(pattern, wanted, errors.append)
    except UsageError as error:
        files, errors = [], [*errors, error]
    for what in errors:
        _warn_once(f"{what}; it is tried again")
    return files, not errors


def _settled(
    found: Mapping[bytes, InputFile], known: dict[bytes, Look], before: Growing, ledger: Ledger | None, now: float
) -> tuple[list[tuple[bytes, InputFile]], Growing]:
    """The files to hand out, which are known from then on, and how the others look. Says which known ones changed.

    Whole are objects of a bucket, and files that have looked as now for SETTLE_SECONDS, whatever their time says: the
    clock of a file server may be another. A file without a byte is yet to be written.
    """
    files: list[tuple[bytes, InputFile]] = []
    growing: Growing = {}
    for key, file in found.items():
        look = look_of(file)
        state = Known.NEW if ledger is None or key in known else ledger.state(key, look)
        if known.get(key, look) != look or state is Known.CHANGED:
            _warn_once(f"{file.name}: has changed since it was read: nothing of it is counted again")
        if key in known or state in (Known.CHANGED, Known.DONE):
            known[key] = look
        elif file.size:
            since = before[key][1] if before.get(key, (None, 0))[0] == look else now
            is_read = ledger is not None and file.name in ledger.open  # another one that is shown alike
            if (is_local(file.path) and now - since < SETTLE_SECONDS) or is_read:
                growing[key] = look, since
            else:
                files.append((key, file))
                known[key] = look
    return files, growing


def _tell_left(names: Iterable[str]) -> None:
    for name in names:
        logging.getLogger(__name__).warning("%s is still being written: it was left out", name)


@functools.lru_cache(maxsize=10_000)
def _warn_once(message: str) -> None:
    logging.getLogger(__name__).warning("%s", message)


@dataclasses.dataclass
class WatchFiles(beam.PTransform):  # type: ignore[misc]
    """Files as they appear: Pipeline -> PCollection[InputFile], unbounded; each once, when it is first seen.

    Patterns are globs or folders; hidden files (a leading dot) are not seen, so that a file appears by being renamed.
    A file that is written in place is waited for, until polls have seen the same for SETTLE_SECONDS. Timestamps and
    watermark are the time of a poll; for a while after the start, with allowed lateness, that of the beginning.
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
