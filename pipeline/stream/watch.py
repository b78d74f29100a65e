"""Watches folders and emits each file once, as soon as it is complete."""

import dataclasses
import itertools
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

from pipeline.engine.logs import plural
from pipeline.engine.run_state import run_state, steady_time
from pipeline.errors import UsageError
from pipeline.storage.files import InputFile, is_local, printable_path
from pipeline.storage.matching import match_files, real_path
from pipeline.storage.patterns import has_magic
from pipeline.stream import StreamJob
from pipeline.stream.database import warn_once
from pipeline.stream.ledger import FileSignature, Ledger, ledger_of, path_key, signature_of

MAX_POLL_INTERVAL_SECONDS = 1.0
"""Longest interval between polls of local folders."""

_POLLS_PER_UPDATE = 4  # of a report; with one a second the p99 delay was 2.7 s, with four 1.8 s

SETTLE_SECONDS = 1.0
"""How long the size and modification time of a local file must be unchanged before it is read."""

_LISTING_CPU = 0.2  # maximum fraction of a CPU spent on polls less than MAX_POLL_INTERVAL_SECONDS apart
_RECHECK_CPU = 0.05  # maximum fraction of a CPU spent on checking known files for changes

REMOTE_POLL_INTERVAL_SECONDS = 10.0
"""Interval between listings of a bucket, which are billed."""

_GAP_SECONDS = 60  # a longer pause between polls counts as downtime: files that arrived during it are not late

Known = dict[bytes, FileSignature]
"""Present files that were emitted, by key."""

Unsettled = dict[bytes, tuple[FileSignature, float]]
"""Files that may still be written, by key: their signature, and since when it is unchanged, Unix seconds."""


class WatchState(NamedTuple):
    """The restriction of a watch. Never falsy, since Beam ends a watch whose restriction is.

    Attributes:
      known: empty if the ledger keeps it.
      unsettled: files not emitted yet.
      polled: end of the last poll. All times are Unix seconds.
      since: start of the first poll, or of the first one after a gap.
      watermark: watermark of the last poll.
      stopped: when the stop was noticed, 0 before.
    """

    known: Known = {}  # noqa: RUF012 - never changed
    unsettled: Unsettled = {}  # noqa: RUF012
    polled: float = 0
    since: float = 0
    watermark: float = 0
    stopped: float = 0


class _WatchTracker(RestrictionTracker):  # type: ignore[misc]
    """Stores a poll's result in the checkpoint that emits its files: none is lost or read twice."""

    def __init__(self, state: WatchState) -> None:
        self._state, self._done = state, False

    def current_restriction(self) -> WatchState:
        return self._state

    def current_progress(self) -> RestrictionProgress:
        """Required after 100 ms; otherwise Beam logs a traceback."""
        return RestrictionProgress(completed=int(self._done), remaining=int(not self._done))

    def try_claim(self, state: WatchState) -> bool:
        if not self._done:
            self._state = state
        return not self._done

    def try_split(self, fraction_of_remainder: float) -> tuple[WatchState, WatchState] | None:
        if self._done:
            return None
        self._done = True
        return self._state, self._state

    def check_done(self) -> None:
        pass

    def is_bounded(self) -> bool:
        return False


class _Watch(beam.DoFn, RestrictionProvider):  # type: ignore[misc]
    """Polls patterns, encoded as coders require, and yields new files.

    Holds the watermark at its last value (epoch 0 on a first start) for `allowed_lateness` seconds after a start or
    gap, so that past hours do not close before their events are found; files found meanwhile get that timestamp.

    Args:
      interval: seconds between polls.
      allowed_lateness: in seconds; None: hours never close.
      ledger_folder: None without a ledger.
    """

    def __init__(self, interval: float, allowed_lateness: int | None, ledger_folder: str | None) -> None:
        self._interval, self._allowed_lateness, self._ledger_folder = interval, allowed_lateness, ledger_folder
        self._lister = _Lister()

    def initial_restriction(self, patterns: tuple[bytes, ...]) -> WatchState:
        return WatchState()

    def create_tracker(self, restriction: WatchState) -> _WatchTracker:
        return _WatchTracker(restriction)

    def restriction_size(self, patterns: tuple[bytes, ...], restriction: WatchState) -> int:
        return 1

    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator]
    def process(
        self,
        patterns: tuple[bytes, ...],
        tracker: Any = beam.DoFn.RestrictionParam(),
        watermark: Any = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider()),
    ) -> Iterator[TimestampedValue]:
        state: WatchState = tracker.current_restriction()
        ledger = None if self._ledger_folder is None else ledger_of(self._ledger_folder)
        _wait_until(state.polled + self._interval, self._interval)
        now, cpu_start = steady_time(), time.thread_time()
        stopped = min(state.stopped or now, now) if run_state.stopping.is_set() else 0
        known = dict(ledger.known if ledger else state.known)
        found, present = self._lister.list_files(map(os.fsdecode, patterns), known, bool(stopped))
        files, signatures, unsettled = _split_settled(found, known, state.unsettled, ledger, now)
        gone = known.keys() - present
        if ledger and not state.polled:
            _warn_of_lost_files(ledger, present)
        cpu_pause = min((time.thread_time() - cpu_start) / _LISTING_CPU, MAX_POLL_INTERVAL_SECONDS)
        since = now if now - state.polled > _GAP_SECONDS else state.since
        is_held = self._allowed_lateness is not None and now < since + self._allowed_lateness
        mark = state.watermark if is_held else max(state.watermark, now)
        kept = {} if ledger else _updated(known, gone, signatures)
        if not tracker.try_claim(WatchState(kept, unsettled, steady_time(), since, mark, stopped)):
            return
        if ledger:
            _updated(ledger.known, gone, signatures)
        for key, file in files:
            if ledger:
                ledger.start_file(file, key, now)
            is_any_version = not ledger and is_local(file.path)  # it may be touched before it is read
            yield TimestampedValue(file._replace(version=None) if is_any_version else file, Timestamp.of(mark))
        watermark.set_watermark(Timestamp.of(mark))
        if stopped and (not unsettled or now - stopped >= SETTLE_SECONDS):
            for key in unsettled:
                warn_once(f"skipped {found[key].name}: still being written when the stream stopped")
        else:
            tracker.defer_remainder(Duration(max(self._interval, cpu_pause)))


def _warn_of_lost_files(ledger: Ledger, present: set[bytes]) -> None:
    """Warns of files that an earlier run counted in part and that are gone. The ledger does not know their names."""
    lost = len(ledger.unfinished() - present)
    if lost:
        files = plural(lost, "file")
        warn_once(f"{files} counted in part by an earlier run cannot be found; reports lack the remaining events")


def _updated(known: Known, gone: Iterable[bytes], signatures: Known) -> Known:
    for key in gone:
        known.pop(key, None)
    known.update(signatures)
    return known


def poll_interval(patterns: Iterable[str], early_firing_seconds: int) -> float:
    """Returns the seconds between polls of patterns."""
    if not all(map(is_local, patterns)):
        return REMOTE_POLL_INTERVAL_SECONDS
    return min(MAX_POLL_INTERVAL_SECONDS, early_firing_seconds / _POLLS_PER_UPDATE)


def _wait_until(due: float, limit: float) -> None:
    """Waits where the runner does not defer a poll, as Flink without checkpoints. due: Unix seconds."""
    early = due - steady_time()
    if early > 0:
        time.sleep(min(early, limit))


class _Lister:
    """Lists files by the keys of their real paths, and caches the keys."""

    def __init__(self) -> None:
        self._keys: dict[str, bytes] = {}  # by path as listed
        self._links: set[str] = set()  # among them; their targets may change
        self._folders: dict[str, str] = {}  # real paths
        self._due = 0.0

    def list_files(
        self, patterns: Iterable[str], known: Known, all_files: bool
    ) -> tuple[dict[bytes, InputFile], set[bytes]]:
        """Lists files.

        Args:
          patterns: globs or folders.
          known: files to omit, unless it is time to check them for changes.
          all_files: omit none.

        Returns:
          The files by key, with their real paths, and the keys of all present files.
        """
        start, all_files = time.thread_time(), all_files or steady_time() >= self._due
        resolve = all_files or any(os.path.realpath(path) != real for path, real in self._folders.items())
        if resolve:
            self._folders, self._links = {}, set()
        keys: dict[str, bytes] = {}
        real_paths: dict[str, str] = {}

        def wanted(path: str) -> bool:
            if path not in keys:
                key = None if resolve or path in self._links else self._keys.get(path)
                if key is None:
                    real_paths[path] = real_path(path, self._folders, self._links)
                    key = path_key(real_paths[path])
                keys[path] = key
            return all_files or keys[path] not in known

        matches = [_match(pattern, wanted) for pattern in patterns]
        self._keys = keys if all(complete for _, complete in matches) else self._keys | keys
        if all_files:
            self._due = steady_time() + (time.thread_time() - start) / _RECHECK_CPU
        files: dict[bytes, InputFile] = {}
        for file in itertools.chain(*(found for found, _ in matches)):
            real = real_paths.get(file.path) or real_path(file.path, self._folders, self._links)
            files.setdefault(keys[file.path], file if file.path == real else file._replace(path=real))
        return files, {*self._keys.values()}


def _match(pattern: str, wanted: Any) -> tuple[list[InputFile], bool]:
    """Returns the wanted files, and whether listing was complete; warns once of each file that cannot be accessed."""
    errors: list[UsageError] = []
    folder = pattern if not has_magic(pattern) else posixpath.dirname(pattern) or "."
    if is_local(pattern) and not has_magic(folder) and not os.path.exists(folder):
        errors.append(UsageError(f"{printable_path(folder)}: folder no longer exists"))
    try:
        files = match_files(pattern, wanted, errors.append)
    except UsageError as error:
        files = []
        errors.append(error)
    for failure in errors:
        warn_once(f"{failure}; retrying")
    return files, not errors


def _split_settled(
    found: Mapping[bytes, InputFile], known: Known, before: Unsettled, ledger: Ledger | None, now: float
) -> tuple[list[tuple[bytes, InputFile]], Known, Unsettled]:
    """Splits files into those to emit and those that may still be written; warns once of known files that changed.

    Objects are always complete. A local file is complete when its signature is unchanged for SETTLE_SECONDS by this
    machine's clock, since a file server's may differ. Empty files are ignored.

    Returns:
      The files to emit, the signatures of files that become known, and the unsettled files.
    """
    files: list[tuple[bytes, InputFile]] = []
    signatures: Known = {}
    unsettled: Unsettled = {}
    counted_files = ledger.find(found.keys() - known.keys()) if ledger else {}
    names = set(ledger.open) if ledger else set[str]()  # files with different paths may have the same printable name
    for key, file in found.items():
        signature = signature_of(file)
        if known.get(key) == signature:
            continue
        counted, is_done = (known[key], True) if key in known else counted_files.get(key, (signature, False))
        if counted != signature:
            when = "after it was read" if is_done else "after a part of it was counted"
            warn_once(f"{file.name}: changed {when}; the new content is ignored")
        if is_done or counted != signature:
            signatures[key] = signature
        elif file.size:
            since = before[key][1] if before.get(key, (None, 0))[0] == signature else now
            if (is_local(file.path) and now - since < SETTLE_SECONDS) or file.name in names:
                unsettled[key] = signature, since
            else:
                names.add(file.name)
                files.append((key, file))
                signatures[key] = signature
    return files, signatures, unsettled


@dataclasses.dataclass
class WatchFiles(beam.PTransform):  # type: ignore[misc]
    """Emits files, each once, as soon as it is complete: Pipeline -> PCollection[InputFile], unbounded.

    Hidden files (a leading dot) are ignored, so that writers can rename complete files into place. Timestamps and
    watermark are the time of the poll, except that with allowed lateness the watermark is held after a start.
    """

    job: StreamJob

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[InputFile]:
        job = self.job
        interval = poll_interval(job.patterns, job.early_firing_seconds)
        watch = _Watch(interval, job.allowed_lateness_seconds, job.output if job.ledger else None)
        return (
            pipeline
            | "Patterns" >> beam.Create([tuple(map(os.fsencode, job.patterns))], reshuffle=False)
            | "Watch" >> beam.ParDo(watch).with_output_types(InputFile)
        )
