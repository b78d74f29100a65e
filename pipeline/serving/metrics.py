"""Prometheus metrics of all worker processes, in prometheus_client's multiprocess mode."""

import os
from typing import Any

import prometheus_client
from prometheus_client.multiprocess import MultiProcessCollector

from pipeline.serving.access_log import Entry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder shared by the processes; without it, each has its own metrics."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_FILE_BYTES = 64 * 1024  # size of prometheus_client's files
_KINDS = ("counter", "gauge_livesum", "histogram")


class Metrics:
    """Metrics of responses and workspaces."""

    def __init__(self) -> None:
        self._folder = os.environ.get(FOLDER_VARIABLE)
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
