"""Settings of the server, and report settings from query strings."""

import dataclasses
import os
import urllib.parse

from pipeline.errors import UsageError, ZoneError
from pipeline.model.settings import DEFAULT_REPORT, ReportSettings


def from_query(settings: ReportSettings, query: str) -> ReportSettings:
    """Returns the settings, overridden by the query string of a request.

    Raises:
      UsageError: an unknown or repeated parameter, or an invalid value.
    """
    values: dict[str, str] = {}
    for name, value in urllib.parse.parse_qsl(query, keep_blank_values=True):
        if name in values:
            raise UsageError(f"duplicate parameter {name[:40]!r}")
        if name == "utc_offset" and value.startswith(" "):
            raise UsageError(f"utc_offset=+{value[1:40]}: encode + as %2B in URLs")
        values[name] = value
    try:
        return settings.replace(values) if values else settings
    except ZoneError as error:
        raise error.spelled(lambda name, value: f"{name}={urllib.parse.quote(value, safe='/:')}") from None


def available_cpus() -> int:
    """Returns the number of CPUs available to this process."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the server.

    Attributes:
      host: address to listen on.
      port: 0 selects a free one.
      unix_socket: path to listen on, instead of host and port.
      processes: worker processes.
      concurrency: concurrent reports per worker.
      queue_timeout: seconds that a request may wait for a workspace.
      shutdown_timeout: seconds to finish requests after SIGTERM.
      max_body_bytes: largest body, also after decompression.
      token: bearer token that POST and /metrics need, or None.
      insecure: serve public addresses, and accept any Host, without a token.
      reports: a stream's output folder that the page shows, or None.
      staging_location: folder in a bucket, for runners whose workers cannot access this disk.
      report: default report settings of requests.
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
