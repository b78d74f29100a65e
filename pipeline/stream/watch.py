"""Watched folders: files are found as they appear, each once, until the watch is stopped."""

import dataclasses
import functools
import hashlib
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Duration, Timestamp

from pipeline.engine.local_run import local_run
from pipeline.errors import UsageError
from pipeline.model.balance import expected
from pipeline.storage.files import InputFile, is_local
from pipeline.storage.matching import match_files

POLL_SECONDS = 1.0
"""How often a folder on this machine is listed, at least."""

POLLS_A_PANE = 4
"""Polls between two reports, where these come often: with one a second the p99 of delays was 2.7 s, with four 1.8."""

SETTLE_SECONDS = 1.0
"""For how long a file on this machine must look the same before it is read."""

_LISTING_SHARE = 0.2  # of a core, if polls need not be more than POLL_SECONDS apart for it

REMOTE_POLL_SECONDS = 10.0
"""How often a bucket is listed: each listing is paid for."""

Look = tuple[int, int]  # a file's size, and when it was last written
Growing = dict[bytes, tuple[Look, float]]  # how files look, and since when, Unix seconds; by digests of their paths


class Seen(NamedTuple):
    """What a watch has found. (Beam ends a watch whose restriction is falsy.)

    paths: digests of the paths of files that were handed out. growing: the others, which may still be written: items of
    Growing. stopped: when the stop was seen, 0 before. polled: when the folder was listed. Both in Unix seconds.
    """

    paths: frozenset[bytes] = frozenset()
    growing: tuple[tuple[bytes, tuple[Look, float]], ...] = ()
    stopped: float = 0
    polled: float = 0


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
    """Restrictions are what was found before. A poll yields what is new. Patterns are in bytes, as coders need them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

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
        _wait_until(seen.polled + self._seconds, self._seconds)
        now, spent = time.time(), time.thread_time()
        stopped = min(seen.stopped or now, now) if local_run.stopping.is_set() else 0
        found, names = _new_files(map(os.fsdecode, patterns), seen)
        pause = max(self._seconds, min((time.thread_time() - spent) / _LISTING_SHARE, POLL_SECONDS))
        files, growing = _settled(found, dict(seen.growing), now)
        taken = {name for name, own in names.items() if own not in growing}
        if not tracker.try_claim(Seen(seen.paths | taken, tuple(growing.items()), stopped, now)):
            return
        local_run.found += expected(file.path for file in files)
        for file in files:
            yield TimestampedValue(file, Timestamp.of(now))
        watermark.set_watermark(Timestamp.of(now))
        if stopped and (not growing or now - stopped >= SETTLE_SECONDS):
            _tell_left(found[own].name for own in growing)
        else:
            tracker.defer_remainder(Duration(pause))


def poll_seconds(patterns: Iterable[str], early_firing_seconds: int) -> float:
    """How often files of patterns are looked for, in a stream that reports so often."""
    if not all(map(is_local, patterns)):
        return REMOTE_POLL_SECONDS
    return min(POLL_SECONDS, early_firing_seconds / POLLS_A_PANE)


def _wait_until(due: float, most: float) -> None:
    """Waits where an engine calls too soon: Flink without checkpoints does not defer. Unix seconds; seconds."""
    early = due - time.time()
    if early > 0:
        time.sleep(min(early, most))


def _settled(found: Mapping[bytes, InputFile], before: Growing, now: float) -> tuple[list[InputFile], Growing]:
    """The files that are whole, and how the others look.

    Whole are objects of a bucket, and files that were last written, or looked as now, SETTLE_SECONDS before.
    """
    files: list[InputFile] = []
    growing: Growing = {}
    for own, file in found.items():
        look = file.size, file.modified
        known, since = before.get(own, (None, now))
        since = min(since, now) if known == look else now  # a clock may be put back
        if is_local(file.path) and now - min(file.modified + 1, since) < SETTLE_SECONDS:
            growing[own] = look, since
        else:
            files.append(file)
    return files, growing


def _tell_left(names: Iterable[str]) -> None:
    for name in names:
        logging.getLogger(__name__).warning("%s is still being written: it was left out", name)


def _new_files(patterns: Iterable[str], seen: Seen) -> tuple[dict[bytes, InputFile], dict[bytes, bytes]]:
    """New files by their real paths; and the real path of each path that was found, new or known. Paths as digests."""
    files: dict[bytes, InputFile] = {}
    names: dict[bytes, bytes] = {}
    for pattern in patterns:
        try:
            found = match_files(pattern, lambda path: _digest(path) not in seen.paths, _warn)
        except UsageError as error:
            _warn(error)
        else:
            for file in found:
                own = _digest(_own_path(file.path))
                names |= {own: own, _digest(file.path): own}
                if own not in seen.paths:
                    files.setdefault(own, file._replace(version=None))  # touched later, it is the same to a stream
    return files, names


@functools.lru_cache(maxsize=10_000)
def _warn_once(message: str) -> None:
    logging.getLogger(__name__).warning("%s; it is tried again", message)


def _warn(error: UsageError) -> None:
    """Says once what cannot be looked at; the next polls try it again."""
    _warn_once(str(error))


def _own_path(path: str) -> str:
    """The real path of a file that may have several: through links, with `./`."""
    return os.path.realpath(path) if is_local(path) else path


def _digest(path: str) -> bytes:
    return hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=16).digest()


@dataclasses.dataclass
class WatchFiles(beam.PTransform):  # type: ignore[misc]
    """Files as they appear: Pipeline -> PCollection[InputFile], unbounded; each once, when it is first seen.

    Patterns are globs or folders; hidden files (a leading dot) are not seen, so that a file appears by being renamed.
    A file that is written in place is waited for, until polls see the same, or nothing was written, for SETTLE_SECONDS.
    Timestamps and watermark are the time of a poll.
    """

    patterns: tuple[str, ...]
    poll_seconds: float = POLL_SECONDS

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[InputFile]:
        return (
            pipeline
            | "Patterns" >> beam.Create([tuple(map(os.fsencode, self.patterns))], reshuffle=False)
            | "Watch" >> beam.ParDo(_Watch(self.poll_seconds)).with_output_types(InputFile)
        )
