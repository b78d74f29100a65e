"""The server's log and metrics: a line for each answer, warnings, counters; as text or as JSON."""

import contextlib
import dataclasses
import json
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.engine import logs

FORMATS = ("text", "json")
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

FOLDER = "metrics"
"""Name of the folder, in the server's, where all its processes keep their metrics."""

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # by which prometheus_client knows that folder
_FILES = ("counter", "gauge_livesum", "histogram")  # of a process, as prometheus_client names them
_FILE_BYTES = 64 * 1024  # of each, as prometheus_client makes them
_UNCOUNTED = 10_000  # answers that are remembered until it is loaded
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_PREFIX = "hourly_report_"


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer, for log and metrics. kind: as admission.kind; bytes: of the request's body; events: read from it."""

    method: str
    kind: str
    status: int
    bytes: int
    events: int
    seconds: float


class Journal:
    """Writes the access log and counts metrics. form: one of FORMATS. folder: where several processes keep metrics.

    gauges: tells how many slots are busy, how many there are, and how many requests wait for one.

    The library of the metrics takes 0.08 s to load, for which no answer waits: load() does it, and counts what was
    answered before.
    """

    def __init__(
        self, form: str = "text", folder: Path | None = None, gauges: Callable[[], Sequence[int]] = lambda: (0, 0, 0)
    ) -> None:
        self._form, self._folder, self._gauges = form, folder, gauges
        self._uncounted: deque[Answer] = deque(maxlen=_UNCOUNTED)
        self._metrics: _Metrics | None = None
        self._lock = threading.Lock()

    def answered(self, answer: Answer) -> None:
        """Logs an answer and counts it."""
        self._uncounted.append(answer)
        if self._metrics:
            self._count(self._metrics)
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            sys.stderr.write(_json_line(answer) if self._form == "json" else _text_line(answer))

    def refresh(self) -> None:
        """Writes the gauges where whichever process is asked for the metrics reads them."""
        if self._metrics:
            with contextlib.suppress(OSError):  # no room for files that were removed; the next call tries again
                self.load()

    def load(self) -> "_Metrics":
        """Loads prometheus_client at the first call, and counts the answers given before.

        Where its files were removed, new ones are begun, whose counters start at 0 as after a restart.
        """
        with self._lock:
            metrics = self._metrics
            if metrics is None or not metrics.has_files():
                metrics = _Metrics(self._folder)
            metrics.set_slots(*self._gauges())
            self._metrics = metrics
        self._count(metrics)
        return metrics

    def exposition(self) -> bytes:
        """The metrics of all processes, in Prometheus' text format."""
        return self.load().exposition()

    def _count(self, metrics: "_Metrics") -> None:
        with contextlib.suppress(IndexError):  # another thread counts too
            while True:
                answer = self._uncounted.popleft()
                try:
                    metrics.count(answer)
                except OSError:  # the files were removed; the next refresh() makes new ones
                    self._uncounted.append(answer)
                    return


class _Metrics:
    def __init__(self, folder: Path | None) -> None:
        self._files = [folder / f"{kind}_{os.getpid()}.db" for kind in _FILES] if folder else []
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            for path in self._files:
                _reserve(path)
            os.environ[_VARIABLE] = str(folder)  # before the library is loaded
        import prometheus_client
        from prometheus_client import values

        if folder:
            values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call,misc]  # opens files anew
        self._folder, self._library = folder, prometheus_client
        self._registry = prometheus_client.CollectorRegistry()
        common: dict[str, Any] = {"registry": self._registry}
        self._requests = prometheus_client.Counter(
            f"{_PREFIX}requests", "Requests that were answered", ["kind", "status"], **common
        )
        self._seconds = prometheus_client.Histogram(
            f"{_PREFIX}request_seconds",
            "Seconds from the last byte of a request to the answer",
            ["kind"],
            buckets=_SECONDS,
            **common,
        )
        self._bytes = prometheus_client.Counter(f"{_PREFIX}body_bytes", "Bytes of requests' bodies", **common)
        self._events = prometheus_client.Counter(f"{_PREFIX}events", "Events that reports were made of", **common)
        self._slots = [
            prometheus_client.Gauge(f"{_PREFIX}{name}", text, multiprocess_mode="livesum", **common)
            for name, text in (
                ("slots_busy", "Slots that make a report now"),
                ("slots", "Slots there are"),
                ("waiting", "Requests that wait for a slot now"),
            )
        ]

    def has_files(self) -> bool:
        """Whether its files are there still, for other processes to read."""
        return all(path.exists() for path in self._files)

    def count(self, answer: Answer) -> None:
        self._requests.labels(answer.kind, str(answer.status)).inc()
        self._seconds.labels(answer.kind).observe(answer.seconds)
        self._bytes.inc(answer.bytes)
        self._events.inc(answer.events)

    def set_slots(self, *values: int) -> None:
        for gauge, value in zip(self._slots, values, strict=True):
            gauge.set(value)

    def exposition(self) -> bytes:
        registry = self._registry
        if self._folder:
            registry = self._library.CollectorRegistry()
            registry.register(Collector(self._folder))
        return self._library.generate_latest(registry)


def _reserve(path: Path) -> None:
    """Puts a file of zeros on the disk. Raises OSError where that is full.

    prometheus_client writes by a map of memory: where no block can be had for it then, the system kills the process.
    """
    if path.exists():
        return
    try:
        path.write_bytes(bytes(_FILE_BYTES))
    except OSError:
        path.unlink(missing_ok=True)
        raise


class Collector:
    """Adds up the metrics of all processes. The library's own collector fails on files just begun or just removed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Any]:
        from prometheus_client.multiprocess import MultiProcessCollector

        while True:
            try:
                files = [str(path) for path in self._folder.glob("*.db") if path.stat().st_size]
                return MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call,no-any-return]
            except FileNotFoundError:
                continue  # a process has ended, or the folder was cleaned


def forget_process(folder: Path, process: int) -> None:
    """Drops the gauges of a process that has ended; its counters stay."""
    for path in folder.glob(f"gauge_live*_{process}.db"):
        path.unlink(missing_ok=True)


def configure(form: str) -> None:
    """Makes this process log in a form of FORMATS."""
    if form == "json":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(_JsonFormatter())


def say(form: str, level: str, text: str) -> None:
    """Prints a message on stderr in a form of FORMATS. level: info, warning or error."""
    if form == "json":
        logs.say(_json_message(level, text))
    else:
        logs.say(text if level == "info" else f"{level if level == 'error' else level.upper()}: {text}")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return _json_message(record.levelname.lower(), text)


def _json_message(level: str, text: str) -> str:
    return json.dumps({"time": _now(), "level": level, "message": text})


def _text_line(answer: Answer) -> str:
    return (
        f"{_now()} {answer.method} {answer.kind} {answer.status} bytes={answer.bytes} "
        f"events={answer.events} ms={answer.seconds * 1000:.0f}\n"
    )


def _json_line(answer: Answer) -> str:
    values = dataclasses.asdict(answer)
    milliseconds = round(values.pop("seconds") * 1000, 1)
    return json.dumps({"time": _now(), "level": "info", **values, "ms": milliseconds}) + "\n"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
