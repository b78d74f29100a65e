"""Reports over HTTP: a WSGI application, gunicorn's settings for it, and the page.

May import batch, transforms, engine, formats, storage, model; only cli imports this.
"""

import dataclasses
import os
from typing import Any

from pipeline.model.settings import DEFAULT_REPORT, ReportSettings


def _available_cpus() -> int:
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
      log_format: one of telemetry.FORMATS.
      beam_arguments: Beam's own options.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    unix_socket: str | None = None
    processes: int = dataclasses.field(default_factory=_available_cpus)
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


def create_app() -> Any:
    """Returns the WSGI application with default settings, for any WSGI server that does not fork afterwards.

    For example `gunicorn --threads 8 "pipeline.serving:create_app()"`, without `--preload`: Beam is loaded here.
    """
    from pipeline.serving.app import start_app

    return start_app(Settings())
