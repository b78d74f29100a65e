"""Watched folders: files are found as they appear, each once, until the watch is stopped."""

import dataclasses
import logging
import threading
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.coders import BooleanCoder
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Duration, Timestamp

from pipeline.errors import UsageError
from pipeline.files import InputFile, match_files
from pipeline.quick import QuickDoFn

POLL_SECONDS = 1.0
"""How often a folder on this machine is listed."""

REMOTE_POLL_SECONDS = 10.0
"""How often a bucket is listed: each listing is paid for."""

_FOREVER = 2**62

stopping = threading.Event()
"""Set to end all watches of this process: they list their folder once more, and all windows are flushed."""


class _Watch(QuickDoFn, RestrictionProvider):  # type: ignore[misc]
    """Restrictions are ranges of polls. A poll yields all files that are there."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def initial_restriction(self, pattern: str) -> OffsetRange:
        return OffsetRange(0, _FOREVER)

    def create_tracker(self, restriction: OffsetRange) -> OffsetRestrictionTracker:
        return OffsetRestrictionTracker(restriction)

    def restriction_size(self, pattern: str, restriction: OffsetRange) -> int:
        return 1

    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator]
    def process(
        self,
        pattern: str,
        tracker: OffsetRestrictionTracker = beam.DoFn.RestrictionParam(),  # noqa: B008 (how Beam asks for it)
        watermark: Any = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider()),  # noqa: B008
    ) -> Iterator[TimestampedValue]:
        last = stopping.is_set()
        if not tracker.try_claim(_FOREVER - 1 if last else tracker.current_restriction().start):
            return
        now = Timestamp.now()
        for file in _list(pattern):
            yield TimestampedValue((file.path, file), now)
        watermark.set_watermark(now)
        if not last:
            tracker.defer_remainder(Duration(self._seconds))


def _list(pattern: str) -> list[InputFile]:
    try:
        return match_files(pattern)
    except UsageError as error:
        logging.getLogger(__name__).warning("%s; it is tried again", error)
        return []


class _FirstTime(QuickDoFn):
    _SEEN = ReadModifyWriteStateSpec("seen", BooleanCoder())

    def process(self, element: tuple[str, InputFile], seen: Any = beam.DoFn.StateParam(_SEEN)) -> Iterator[InputFile]:  # noqa: B008
        if not seen.read():
            seen.write(True)
            yield element[1]


@dataclasses.dataclass
class WatchFiles(beam.PTransform):  # type: ignore[misc]
    """Files as they appear: Pipeline -> PCollection[InputFile], unbounded; each path once, when it is first seen.

    Patterns are globs or folders; hidden files (a leading dot) are not seen, so that a file appears by being renamed.
    Timestamps and watermark are the time of a poll.
    """

    patterns: tuple[str, ...]
    poll_seconds: float = POLL_SECONDS

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[InputFile]:
        return (
            pipeline
            | "Patterns" >> beam.Create(self.patterns, reshuffle=False)
            | "Watch" >> beam.ParDo(_Watch(self.poll_seconds)).with_output_types(tuple[str, InputFile])
            | "New files" >> beam.ParDo(_FirstTime()).with_output_types(InputFile)
        )
