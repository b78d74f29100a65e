"""Settings of the server, and what a request's query string changes in those of its report."""

import dataclasses
import urllib.parse

from pipeline.errors import UsageError, ZoneError
from pipeline.model.settings import DEFAULT_REPORT, ReportSettings
from pipeline.serving.resources import cores


def from_query(settings: ReportSettings, query: str) -> ReportSettings:
    """Returns the settings with those replaced that a request's query string sets.

    Raises:
      UsageError: an unknown or repeated parameter, or an invalid value.
    """
    values: dict[str, str] = {}
    for piece in filter(None, query.split("&")):
        name, _, value = piece.partition("=")
        name, text = (urllib.parse.unquote_plus(part, errors="replace") for part in (name, value))
        if name in values:
            raise UsageError(f"the parameter {name[:40]!r} stands twice")
        if name == "utc_offset" and "+" in value:
            raise UsageError(f"utc_offset={value[:40]}: in an address + is written %2B")
        values[name] = text
    try:
        return settings.replace(values) if values else settings
    except ZoneError as error:
        raise error.spelled(lambda name, value: f"{name}={urllib.parse.quote(value, safe='/:')}") from None


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
    report: ReportSettings = DEFAULT_REPORT
    log_format: str = "text"
    beam_arguments: tuple[str, ...] = ()
