"""What to report of a stream, and where to write it."""

import dataclasses
import time
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
      resume: continue from the ledger in output, and keep it.
      started: when the stream began, Unix seconds.
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
    resume: bool = False
    started: int = dataclasses.field(default_factory=lambda: int(time.time()), compare=False)
    token: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def settings(self) -> dict[str, str]:
        """What must be the same in all runs that share a ledger."""
        report = {name: str(getattr(self.report, name)) for name in ("utc_offset", "time_zone", "deduplicate")}
        return report | {"id_parts": str(self.id_parts), "ids_output": str(bool(self.ids_output))}

    @property
    def outputs(self) -> list[str]:
        """The folders that the job writes to."""
        return [path for path in (self.output, self.ids_output, self.rejects_output) if path is not None]
