"""Settings of the server, and what a request's query string changes in those of its report."""

import dataclasses
import os
import urllib.parse

from pipeline.errors import UsageError, ZoneError
from pipeline.model.settings import DEFAULT_REPORT, ReportSettings


def from_query(settings: ReportSettings, query: str) -> ReportSettings:
    """Returns the settings with those replaced that a request's query string sets.

    Raises:
      UsageError: an unknown or repeated parameter, or an invalid value.
    """
    values: dict[str, str] = {}
    for name, value in urllib.parse.parse_qsl(query, keep_blank_values=True):
        if name in values:
            raise UsageError(f"duplicate parameter {name[:40]!r}")
        if name == "utc_offset" and value.startswith(" "):
            raise UsageError(f"utc_offset=+{value[1:40]}: in an address + is written %2B")
        values[name] = value
    try:
        return settings.replace(values) if values else settings
    except ZoneError as error:
        raise error.spelled(lambda name, value: f"{name}={urllib.parse.quote(value, safe='/:')}") from None


def available_cpus() -> int:
    """Returns how many CPUs this process may use, by its affinity where the system has that."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the server runs.

    Attributes:
      host: address to listen on.
      port: 0 takes a free one.
      unix_socket: path to listen on, instead of host and port.
      processes: worker processes.
      concurrency: reports that a worker makes at a time.
      queue_timeout: seconds that a request waits for a workspace.
      shutdown_timeout: seconds to finish requests in after SIGTERM.
      max_body_bytes: largest body, also after decompression.
      token: bearer token that POST and /metrics need, or None.
      insecure: serve public addresses, and answer to any Host, without a token.
      reports: a stream's output folder, which the page shows, or None.
      staging_location: folder in a bucket, for runners whose workers do not see this disk.
      report: settings of reports where a request has none.
      log_format: one of access_log.FORMATS.
      beam_arguments: Beam's own options.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    unix_socket: str | None = None
    processes: int = dataclasses.field(default_factory=available_cpus)
    concurrency: int = 2
    queue_timeout: float = 10
    shutdown_timeout: int = 60
    max_body_bytes: int = 256 * 1024 * 1024
    token: str | None = None
    insecure: bool = False
    reports: str | None = None
    staging_location: str | None = None
    report: ReportSettings = DEFAULT_REPORT
    log_format: str = "text"
    beam_arguments: tuple[str, ...] = ()
