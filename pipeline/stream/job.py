"""What to report of a stream, and where to write it."""

import dataclasses
import uuid

from pipeline.model.settings import DEFAULT_REPORT, ReportSettings

EARLY_FIRING_SECONDS = 60

MAX_FUTURE_SECONDS = 86400


@dataclasses.dataclass(frozen=True)
class StreamJob:
    """What to report of a stream and where to write it.

    Attributes:
      output, ids_output, rejects_output: folders on any Beam file system; None: not written.
      report: what the reports count, and how they show it.
      patterns: watched files. subscription: a Pub/Sub subscription to read instead.
      early_firing_seconds: time between two reports of an open hour.
      allowed_lateness_seconds: how long an hour stays open after its end; None: for ever.
      max_future_seconds: how far ahead of its file or message an event may be.
      timestamp_attribute, id_attribute: attributes of messages.
      id_parts: files of ids per hour, by the ids' hashes, a power of two.
      late_at_once: fire for each late element, because DirectRunner loses the timers of late panes.
      ledger: keep a ledger in output, and continue from it; for workers in this process.
      keeps_state: whether the runner restores its state in a new submission, so that reports may be there at the start.
      overwrite: start from nothing, without the ledger and reports of earlier runs.
      token: names temporary files.
    """

    output: str
    report: ReportSettings = DEFAULT_REPORT
    _: dataclasses.KW_ONLY
    patterns: tuple[str, ...] = ()
    subscription: str | None = None
    ids_output: str | None = None
    rejects_output: str | None = None
    early_firing_seconds: int = EARLY_FIRING_SECONDS
    allowed_lateness_seconds: int | None = None
    max_future_seconds: int = MAX_FUTURE_SECONDS
    timestamp_attribute: str | None = None
    id_attribute: str | None = None
    id_parts: int = 1
    late_at_once: bool = False
    ledger: bool = False
    keeps_state: bool = True
    overwrite: bool = False
    token: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def settings(self) -> dict[str, str]:
        """What changes a report, by option: the same in all runs that share a ledger."""
        report = self.report
        return {
            "utc_offset": str(report.utc_offset),
            "time_zone": str(report.time_zone),
            "impressions_factor": report.impressions_factor,
            "deduplicate": str(report.deduplicate),
            "allowed_lateness_seconds": str(self.allowed_lateness_seconds),
            "max_future_seconds": str(self.max_future_seconds),
            "id_partitions": str(self.id_parts),
            "ids_output": str(bool(self.ids_output)),
        }

    @property
    def outputs(self) -> list[str]:
        """The folders that the job writes to."""
        return [path for path in (self.output, self.ids_output, self.rejects_output) if path is not None]
