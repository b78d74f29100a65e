"""The server's log, as text or JSON: a line for each response, and warnings."""

import contextlib
import dataclasses
import ipaddress
import json
import logging
import time
from collections.abc import Mapping
from typing import Any

FORMATS = ("text", "json")

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


def client_address(environ: Mapping[str, Any]) -> str:
    """Returns the client's address: forwarded by a local proxy, or that of the connection."""
    peer = str(environ.get("REMOTE_ADDR", ""))
    with contextlib.suppress(ValueError):  # not an address
        if not peer or ipaddress.ip_address(peer).is_loopback:
            return str(ipaddress.ip_address(environ.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()))
    return peer or "-"


def write(entry: Entry) -> None:
    """Logs a response."""
    text = "%(client)s %(method)s %(kind)s %(status)s bytes=%(bytes)s events=%(events)s ms=%(ms).0f"
    _access.info(text, dataclasses.asdict(entry))


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
