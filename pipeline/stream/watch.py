"""Watched folders: files are found as they appear, each once, until the watch is stopped."""

import dataclasses
import functools
import hashlib
import logging
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Duration, Timestamp

from pipeline.errors import UsageError
from pipeline.model.balance import expected
from pipeline.storage.files import InputFile, is_local
from pipeline.storage.matching import match_files

POLL_SECONDS = 1.0
"""How often a folder on this machine is listed."""

REMOTE_POLL_SECONDS = 10.0
"""How often a bucket is listed: each listing is paid for."""

stopping = threading.Event()
"""Set to end all watches of this process: they list their folder once more, and all windows are flushed."""


found_here: Counter[str] = Counter()
"""What the blocks of the files add up to that watches of this process have found since this was cleared."""


class Seen(NamedTuple):
    """The files that a watch has found: digests of their paths. (Beam ends a watch whose restriction is falsy.)"""

    paths: frozenset[bytes] = frozenset()


class _SeenTracker(RestrictionTracker):  # type: ignore[misc]
    """What a poll has found is kept with the very checkpoint that hands it out, so no file is lost or read twice."""

    def __init__(self, seen: Seen) -> None:
        self._seen, self._done = seen, False

    def current_restriction(self) -> Seen:
        return self._seen

    def current_progress(self) -> RestrictionProgress:
        """Of a poll: Beam asks for it after 100 ms, and logs a traceback where there is none."""
        return RestrictionProgress(completed=int(self._done), remaining=int(not self._done))

    def try_claim(self, found: Iterable[bytes]) -> bool:
        if not self._done:
            self._seen = Seen(self._seen.paths | frozenset(found))
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
        last = stopping.is_set()
        now = Timestamp.now()
        files, names = _new_files(map(os.fsdecode, patterns), tracker.current_restriction())
        if not tracker.try_claim(names):
            return
        found_here["balance"] += expected(file.path for file in files.values())
        for file in files.values():
            yield TimestampedValue(file, now)
        watermark.set_watermark(now)
        if not last:
            tracker.defer_remainder(Duration(self._seconds))


def _new_files(patterns: Iterable[str], seen: Seen) -> tuple[dict[bytes, InputFile], set[bytes]]:
    """The files that are new, and the digests of all paths under which they, or known ones, were found."""
    files: dict[bytes, InputFile] = {}
    names: set[bytes] = set()
    for pattern in patterns:
        try:
            found = match_files(pattern, lambda path: _digest(path) not in seen.paths, _warn)
        except UsageError as error:
            _warn(error)
        else:
            for file in found:
                own = _digest(_own_path(file.path))
                names |= {own, _digest(file.path)}
                if own not in seen.paths:
                    files.setdefault(own, file)
    return files, names


@functools.lru_cache(maxsize=10_000)
def _warn_once(message: str) -> None:
    logging.getLogger(__name__).warning("%s; it is tried again", message)


def _warn(error: UsageError) -> None:
    """Says once what cannot be looked at; the next polls try it again."""
    _warn_once(str(error))


def _own_path(path: str) -> str:
    """The one path of a file that may have several: through links, with `./`."""
    return os.path.realpath(path) if is_local(path) else path


def _digest(path: str) -> bytes:
    return hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=16).digest()


@dataclasses.dataclass
class WatchFiles(beam.PTransform):  # type: ignore[misc]
    """Files as they appear: Pipeline -> PCollection[InputFile], unbounded; each once, when it is first seen.

    Patterns are globs or folders; hidden files (a leading dot) are not seen, so that a file appears by being renamed.
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
