"""What to report of a stream, and where to write it."""

import dataclasses
import time
import uuid

from pipeline.model.table import DEFAULT_FACTOR

EARLY_FIRING_SECONDS = 60

MAX_FUTURE_SECONDS = 86400


@dataclasses.dataclass(frozen=True)
class StreamJob:
    """What to report of a stream and where to write it: a folder each, on any Beam file system; None: not written.

    patterns: watched files; or subscription: of Pub/Sub. utc_offset, time_zone: at most one, as HourClock.parse takes
    it. early_firing_seconds: between the reports of an hour that goes on. allowed_lateness_seconds: how long an hour
    stays open, None: for ever. max_future_seconds: how far ahead events may be. deduplicate: events equal in id, event
    and timestamp count once. id_parts: files of ids an hour, by the ids' hashes, a power of two. late_at_once: late
    events are reported as they come, since DirectRunner loses timers of late panes. resume: goes on from the ledger in
    output, and keeps it. started: when the stream began, Unix seconds. token: names temporary files.
    """

    output: str
    _: dataclasses.KW_ONLY
    patterns: tuple[str, ...] = ()
    subscription: str | None = None
    ids_output: str | None = None
    rejects_output: str | None = None
    utc_offset: str | None = None
    time_zone: str | None = None
    impressions_factor: str = DEFAULT_FACTOR
    early_firing_seconds: int = EARLY_FIRING_SECONDS
    allowed_lateness_seconds: int | None = None
    max_future_seconds: int = MAX_FUTURE_SECONDS
    timestamp_attribute: str | None = None
    id_attribute: str | None = None
    deduplicate: bool = False
    id_parts: int = 1
    late_at_once: bool = False
    resume: bool = False
    started: int = dataclasses.field(default_factory=lambda: int(time.time()), compare=False)
    token: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def settings(self) -> dict[str, str]:
        """What must be the same in all runs that share a ledger."""
        names = ("utc_offset", "time_zone", "deduplicate", "id_parts")
        return {name: str(getattr(self, name)) for name in names} | {"ids_output": str(bool(self.ids_output))}

    @property
    def outputs(self) -> list[str]:
        """The folders that the job writes to."""
        return [path for path in (self.output, self.ids_output, self.rejects_output) if path is not None]
