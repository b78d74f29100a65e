"""Settings of the server, and of the reports it makes."""

import dataclasses
import urllib.parse
from typing import Any

from pipeline.errors import UsageError
from pipeline.model.hours import DEFAULT_UTC_OFFSET, HourClock
from pipeline.model.table import DEFAULT_FACTOR, parse_factor
from pipeline.serving.resources import cores


@dataclasses.dataclass(frozen=True)
class ReportSettings:
    """How a report is made; a request may set each of these. Requests with equal settings share a graph.

    utc_offset, time_zone: as HourClock.parse takes them. skip_rejects: leave rejects out; else a body with any is
    refused.
    """

    utc_offset: str | None = DEFAULT_UTC_OFFSET
    time_zone: str | None = None
    impressions_factor: str = DEFAULT_FACTOR
    deduplicate: bool = False
    skip_rejects: bool = False

    def changed(self, values: dict[str, str]) -> "ReportSettings":
        """These settings with some replaced. values: texts by the names of PARAMETERS.

        Raises UsageError: an unknown parameter, or a bad value, by the checks of the command line.
        """
        unknown = sorted(values.keys() - PARAMETERS)
        if unknown:
            raise UsageError(f"unknown parameter {unknown[0][:40]!r}: there are {', '.join(PARAMETERS)}")
        changes: dict[str, Any] = {name: values[name] for name in PARAMETERS[:3] if name in values}
        if "deduplicate" in values:
            changes["deduplicate"] = _one_of("deduplicate", values["deduplicate"], "false", "true")
        if "rejects" in values:
            changes["skip_rejects"] = _one_of("rejects", values["rejects"], "refuse", "skip")
        if changes.keys() & {"utc_offset", "time_zone"}:
            changes = {"utc_offset": None, "time_zone": None} | changes
        result = dataclasses.replace(self, **changes)
        HourClock.parse(result.utc_offset, result.time_zone)
        parse_factor(result.impressions_factor)
        return result

    def asked(self, query: str) -> "ReportSettings":
        """These settings with those replaced that a request's query string sets. Raises UsageError as changed()."""
        values: dict[str, str] = {}
        for piece in filter(None, query.split("&")):
            name, _, value = piece.partition("=")
            name, text = (urllib.parse.unquote_plus(part, errors="replace") for part in (name, value))
            if name in values:
                raise UsageError(f"the parameter {name[:40]!r} stands twice")
            if name == "utc_offset" and "+" in value:
                raise UsageError(f"utc_offset={value[:40]}: in an address + is written %2B")
            values[name] = text
        return self.changed(values) if values else self


PARAMETERS = ("utc_offset", "time_zone", "impressions_factor", "deduplicate", "rejects")
"""Query parameters of a request; options of the server have the same names."""


USUAL_REPORT = ReportSettings()
"""How a report is made where neither the server's options nor the request say."""


def _one_of(name: str, value: str, no: str, yes: str) -> bool:
    if value not in (no, yes):
        raise UsageError(f"{name} must be {yes} or {no}, not {value[:40]!r}")
    return value == yes


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the server runs.

    processes: workers, each with an interpreter of its own. slots: reports that a worker makes at a time. queue:
    requests of a worker that may wait for a slot. max_body_bytes: of a body, also after decompression. timeout: seconds
    of silence after which a client is cut off. grace: seconds that running requests have when the server stops. token:
    the bearer token that a POST needs, or None. staging: a folder in a bucket, or None. report: used where a request
    does not say. log_format: text or json. beam_arguments: Beam's own options.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    processes: int = dataclasses.field(default_factory=cores)
    slots: int = 2
    queue: int = 32
    max_body_bytes: int = 256 * 1024 * 1024
    timeout: int = 30
    grace: int = 60
    token: str | None = None
    staging: str | None = None
    report: ReportSettings = USUAL_REPORT
    log_format: str = "text"
    beam_arguments: tuple[str, ...] = ()
