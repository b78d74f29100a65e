"""The server's log, as text or JSON, and Prometheus metrics: a line and counts for each response."""

import contextlib
import dataclasses
import ipaddress
import json
import logging
import os
import time
from collections.abc import Mapping
from typing import Any

FORMATS = ("text", "json")

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder in which processes share their metrics; without it, each has its own.

prometheus_client reads it when it is imported, so that only workers import it.
"""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_FILE_BYTES = 64 * 1024  # size of prometheus_client's files
_KINDS = ("counter", "gauge_livesum", "histogram")

_access = logging.getLogger("hourly_report.access")


@dataclasses.dataclass
class Entry:
    """The log entry of a response.

    Attributes:
      client: address of the client.
      method: HTTP method, - for unusual ones.
      kind: report, page, file, health, metrics or other.
      status: HTTP status.
      bytes: size of the request's body, as sent.
      events: records read from the body.
      ms: milliseconds from the last byte of the request to the response.
    """

    client: str
    method: str
    kind: str
    status: int = 0
    bytes: int = 0
    events: int = 0
    ms: float = 0

    def __post_init__(self) -> None:
        self.start_clock()

    def start_clock(self) -> None:
        """To be called when the last byte of the request was received."""
        self._received = time.monotonic()

    def finish(self, status: int) -> None:
        """Logs the response."""
        self.status, self.ms = status, (time.monotonic() - self._received) * 1000
        text = "%(client)s %(method)s %(kind)s %(status)s bytes=%(bytes)s events=%(events)s ms=%(ms).0f"
        _access.info(text, dataclasses.asdict(self))


def client_address(environ: Mapping[str, Any]) -> str:
    """Returns the client's address: forwarded by a local proxy, or that of the connection."""
    peer = str(environ.get("REMOTE_ADDR", ""))
    with contextlib.suppress(ValueError):  # not an address
        if not peer or ipaddress.ip_address(peer).is_loopback:
            return str(ipaddress.ip_address(environ.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()))
    return peer or "-"


def configure(log_format: str) -> None:
    """Sets up the access log, and the format of all log lines of this process, on stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else _TextFormatter())
    _access.handlers, _access.propagate = [handler], False
    _access.setLevel(logging.INFO)
    if log_format == "json":
        for other in logging.getLogger().handlers:
            other.setFormatter(JsonFormatter())


def format_message(log_format: str, level: str, text: str) -> str:
    """Formats a line that is not a log record, such as a fatal error."""
    if log_format == "json":
        return json.dumps({"time": _time(time.time()), "level": level, "message": text})
    return text if level == "info" else f"{level}: {text}"


class JsonFormatter(logging.Formatter):
    """Formats a record as a line of JSON; that of a response has the fields of Entry instead of a message."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        line: dict[str, Any] = {"time": _time(record.created), "level": record.levelname.lower()}
        if record.name == _access.name and isinstance(record.args, dict):
            return json.dumps({**line, **record.args, "ms": round(record.args["ms"], 1)})
        exception = "\n" + self.formatException(record.exc_info) if record.exc_info else ""
        return json.dumps({**line, "message": record.getMessage() + exception})


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{_time(record.created)} {record.getMessage()}"


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class Metrics:
    """Metrics of responses and workspaces, of all processes in prometheus_client's multiprocess mode."""

    def __init__(self) -> None:
        import prometheus_client

        self._folder = os.environ.get(METRICS_VARIABLE)
        if self._folder:
            _reserve(self._folder)
        self._registry = prometheus_client.CollectorRegistry()
        counter, gauge, histogram = prometheus_client.Counter, prometheus_client.Gauge, prometheus_client.Histogram
        common: dict[str, Any] = {"namespace": "hourly_report", "registry": self._registry}
        shared: dict[str, Any] = {"multiprocess_mode": "livesum", **common}
        self._requests = counter("requests", "Requests that were answered", ["kind", "status"], **common)
        self._seconds = histogram(
            "request_seconds",
            "Seconds from the last byte of a request to the response",
            ["kind"],
            buckets=_SECONDS,
            **common,
        )
        self._bytes = counter("body_bytes", "Bytes of requests' bodies", **common)
        self._events = counter("events", "Events that were read", **common)
        self.workspaces = gauge("workspaces", "Workspaces", **shared)
        self.busy = gauge("workspaces_busy", "Workspaces in which a report is being made", **shared)
        self.waiting = gauge("requests_waiting", "Requests that wait for a workspace", **shared)

    def count(self, entry: Entry) -> None:
        """Counts a response."""
        self._requests.labels(entry.kind, str(entry.status)).inc()
        self._seconds.labels(entry.kind).observe(entry.ms / 1000)
        self._bytes.inc(entry.bytes)
        self._events.inc(entry.events)

    def exposition(self) -> bytes:
        """Returns the metrics of all processes, in Prometheus' text format."""
        import prometheus_client
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = self._registry
        if self._folder:
            registry = prometheus_client.CollectorRegistry()
            MultiProcessCollector(registry, self._folder)  # type: ignore[no-untyped-call]
        return prometheus_client.generate_latest(registry)


def _reserve(folder: str) -> None:
    """Allocates this process's files on the disk.

    prometheus_client writes through a memory map, which kills the process if the disk is full.

    Raises:
      OSError: the disk is full.
    """
    os.makedirs(folder, 0o700, exist_ok=True)
    for kind in _KINDS:
        path = os.path.join(folder, f"{kind}_{os.getpid()}.db")
        with open(f"{path}.new", "wb") as file:  # no other process reads it yet
            file.write(bytes(_FILE_BYTES))
        os.replace(file.name, path)
