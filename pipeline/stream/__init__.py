"""The stream: what it watches, its graph in hourly windows, its state, and a run of it until it is stopped.

May import transforms, engine, formats, storage, model, native; not batch, which does not import this either.
"""

import dataclasses
import uuid

from pipeline.model.settings import DEFAULT_REPORT, ReportSettings

EARLY_FIRING_SECONDS = 60

MAX_FUTURE_SECONDS = 86400


@dataclasses.dataclass(frozen=True)
class StreamJob:
    """Settings of a stream: inputs, outputs and report.

    Attributes:
      output, ids_output, rejects_output: folders on any Beam file system; None: not written.
      report: settings of the reports.
      patterns: globs or folders to watch.
      subscription: Pub/Sub subscription to read instead.
      early_firing_seconds: seconds between updates of an open hour's report.
      allowed_lateness_seconds: how long an hour stays open after its end; None: forever.
      max_future_seconds: how far ahead of its file or message an event may be.
      timestamp_attribute: message attribute that sets the watermark.
      id_attribute: message attribute by which Dataflow drops redeliveries.
      id_shards: files of ids per hour (shards), by the ids' hashes, a power of two.
      late_at_once: fire for each late element, since DirectRunner loses the timers of late panes.
      ledger: keep a ledger in output and resume from it; needs workers in this process.
      keeps_state: whether the runner restores its state, so that reports may exist at the start.
      overwrite: start from nothing: remove the ledger and reports of earlier runs.
      token: identifies temporary files.
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
    id_shards: int = 1
    late_at_once: bool = False
    ledger: bool = False
    keeps_state: bool = True
    overwrite: bool = False
    token: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def settings(self) -> dict[str, str]:
        """Settings by option that must be equal in all runs with the same ledger."""
        report = self.report
        return {
            "time_zone": str(report.time_zone),
            "utc_offset": str(report.utc_offset),
            "impressions_factor": report.impressions_factor,
            "deduplicate": str(report.deduplicate),
            "allowed_lateness_seconds": str(self.allowed_lateness_seconds),
            "max_future_seconds": str(self.max_future_seconds),
            "id_partitions": str(self.id_shards),
            "ids_output": str(bool(self.ids_output)),
        }

    @property
    def outputs(self) -> list[str]:
        """The folders that the job writes to."""
        return [path for path in (self.output, self.ids_output, self.rejects_output) if path is not None]
