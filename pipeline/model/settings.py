"""Settings of a report, the same on the command line, in a stream, and over HTTP."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pipeline.errors import UsageError
from pipeline.model.hours import DEFAULT_UTC_OFFSET, HourClock
from pipeline.model.table import DEFAULT_FACTOR, parse_factor

PARAMETERS = ("utc_offset", "time_zone", "impressions_factor", "deduplicate", "rejects")
"""Names that `ReportSettings.replace` accepts: query parameters and server options."""


@dataclasses.dataclass(frozen=True)
class ReportSettings:
    """What a report counts, and in which form; validated on construction.

    Attributes:
      utc_offset: a fixed offset such as "+05:30", or None with a time_zone. Default: +01:00.
      time_zone: an IANA name such as "Europe/Paris", instead of utc_offset.
      impressions_factor: a plain decimal number; its number of decimals is that of impressions_scaled.
      deduplicate: count events equal in id, event and timestamp once.
      skip_rejects: drop invalid records; otherwise a batch job fails on them, unless they are written to a file.

    Raises:
      UsageError: a value is invalid, or both utc_offset and time_zone are given.
    """

    utc_offset: str | None = None
    time_zone: str | None = None
    impressions_factor: str = DEFAULT_FACTOR
    deduplicate: bool = False
    skip_rejects: bool = False

    def __post_init__(self) -> None:
        if self.utc_offset is None and self.time_zone is None:
            object.__setattr__(self, "utc_offset", DEFAULT_UTC_OFFSET)
        _ = self.clock
        parse_factor(self.impressions_factor)

    @property
    def clock(self) -> HourClock:
        """Assigns timestamps to the report's hours."""
        return HourClock.parse(self.utc_offset, self.time_zone)

    def replace(self, texts: Mapping[str, str]) -> "ReportSettings":
        """Returns these settings with some replaced.

        Args:
          texts: values by the names of PARAMETERS. An offset replaces a time zone, and the reverse.

        Raises:
          UsageError: an unknown name, or an invalid value.
        """
        unknown = sorted(texts.keys() - PARAMETERS)
        if unknown:
            raise UsageError(f"unknown parameter {unknown[0][:40]!r}: must be one of {', '.join(PARAMETERS)}")
        changes: dict[str, Any] = {name: texts[name] for name in PARAMETERS[:3] if name in texts}
        if "deduplicate" in texts:
            changes["deduplicate"] = _one_of("deduplicate", texts["deduplicate"], "false", "true")
        if "rejects" in texts:
            changes["skip_rejects"] = _one_of("rejects", texts["rejects"], "refuse", "skip")
        if changes.keys() & {"utc_offset", "time_zone"}:
            changes = {"utc_offset": None, "time_zone": None} | changes
        return dataclasses.replace(self, **changes)


def _one_of(name: str, value: str, no: str, yes: str) -> bool:
    if value not in (no, yes):
        raise UsageError(f"{name} must be {yes} or {no}, not {value[:40]!r}")
    return value == yes


DEFAULT_REPORT = ReportSettings()
"""The default settings."""
