"""How the server runs: its options, checked before anything starts."""

import argparse
import dataclasses
import ipaddress
import socket
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.model.hours import DEFAULT_UTC_OFFSET, HourClock
from pipeline.model.table import DEFAULT_FACTOR, parse_factor
from pipeline.serving.limits import cores


@dataclasses.dataclass(frozen=True)
class ReportSettings:
    """How a report is made: what a request may set. Equal settings share a graph.

    utc_offset, time_zone: as HourClock.parse takes them. skip_rejects: they are left out, else they refuse the body.
    """

    utc_offset: str | None = DEFAULT_UTC_OFFSET
    time_zone: str | None = None
    impressions_factor: str = DEFAULT_FACTOR
    deduplicate: bool = False
    skip_rejects: bool = False

    def changed(self, values: dict[str, str]) -> "ReportSettings":
        """These settings but for some, as texts by the names of parameters.

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
        """These settings but for those that a request's query string sets; UsageError as changed."""
        values: dict[str, str] = {}
        for piece in filter(None, query.split("&")):
            name, _, value = piece.partition("=")
            name, text = (urllib.parse.unquote_plus(part, errors="replace") for part in (name, value))
            if name in values:
                raise UsageError(f"the parameter {name[:40]!r} stands twice")
            if name == "utc_offset" and "+" in value:
                raise UsageError(f"utc_offset={value[:40]}: in an address + is written %2B")
            values[name] = text
        return self.changed(values)


PARAMETERS = ("utc_offset", "time_zone", "impressions_factor", "deduplicate", "rejects")
"""Of a request, and options of the server."""


USUAL_REPORT = ReportSettings()
"""Where neither the server's options nor a request say otherwise."""


def _one_of(name: str, value: str, no: str, yes: str) -> bool:
    if value not in (no, yes):
        raise UsageError(f"{name} must be {yes} or {no}, not {value[:40]!r}")
    return value == yes


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the server runs.

    processes: each with its own interpreter. slots: reports that a process makes at a time. queue: requests of a
    process that may wait for one. max_body_bytes also bounds a body after decompression. timeout: seconds of silence
    after which a client is cut off. grace: seconds that running requests have at the end. token: what a POST must
    show, or None. staging: a folder in a bucket, or None. report: how a report is made where a request does not say.
    beam_arguments: Beam's own options.
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
    beam_arguments: tuple[str, ...] = ()


def parse_settings(arguments: Sequence[str] | None) -> Settings:
    """The settings of a command line; wrong usage ends the program with status 2."""
    parser = _parser()
    known, beam_arguments = parser.parse_known_args(arguments)
    values = vars(known)
    token_file, insecure = values.pop("token_file"), values.pop("insecure")
    asked = {name: value for name in PARAMETERS if (value := values.pop(name)) is not None}
    try:
        token = _read_token(token_file) if token_file else None
        values["report"] = USUAL_REPORT.changed(asked)
    except (ValueError, UsageError) as error:
        parser.error(str(error))
    if token is None and not insecure and not _is_loopback(known.host):
        parser.error(f"--host {known.host}: anybody could use it; give a --token_file, or say --insecure")
    return Settings(**values, token=token, beam_arguments=tuple(beam_arguments))


def _parser() -> argparse.ArgumentParser:
    default = Settings()
    parser = argparse.ArgumentParser(
        prog="server.py",
        description="POST advertising events, get the hourly report as CSV.",
        epilog="All options of Apache Beam work too.",
        allow_abbrev=False,
    )

    def add(name: str, kind: Callable[[str], object], text: str) -> None:
        value = getattr(default, name)
        parser.add_argument(f"--{name}", type=kind, default=value, help=f"{text} (default %(default)s)")

    add("host", str, "address to listen on")
    add("port", _between(0, 65535), "0 takes a free one")
    add("processes", _between(1, 1024), "processes that share the work; the default is one a core")
    add("slots", _between(1, 1024), "reports that a process makes at a time")
    add("queue", _between(0, 4096), "requests that may wait for a slot of a process; more are told to come again")
    add("max_body_bytes", _between(1, 2**62), "largest body, also after decompression")
    add("timeout", _between(1, 86400), "seconds of silence after which a client is cut off")
    add("grace", _between(0, 86400), "seconds that running requests have when the server is stopped")
    parser.add_argument("--token_file", metavar="FILE", help="POST needs the token in this file, as a bearer token")
    parser.add_argument(
        "--staging", metavar="FOLDER", help="in a bucket, for bodies and reports of a runner that is elsewhere"
    )
    group = parser.add_argument_group("reports", "what a request may set otherwise, as POST /?time_zone=UTC")
    group.add_argument("--utc_offset", metavar="+HH:MM", help=f"their hours (default {DEFAULT_UTC_OFFSET})")
    group.add_argument("--time_zone", metavar="NAME", help="hours of local clocks, with summer time: Europe/Paris")
    group.add_argument(
        "--impressions_factor", metavar="N", help=f"scales impressions (default {default.report.impressions_factor})"
    )
    group.add_argument(
        "--deduplicate",
        action="store_const",
        const="true",
        help="count events equal in id, event and timestamp once",
    )
    group.add_argument("--rejects", metavar="refuse|skip", help="what bad records do (default refuse)")
    parser.add_argument("--insecure", action="store_true", help="listen on a public address without a token")
    return parser


def _between(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be from {low} to {high}")
        return value

    return number


def _read_token(path: str) -> str:
    try:
        token = Path(path).read_text("ascii").strip()
    except OSError as error:
        raise ValueError(f"--token_file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"--token_file {path}: a token is ASCII text") from None
    if not token or any(character.isspace() for character in token):
        raise ValueError(f"--token_file {path}: must hold one token")
    return token


def _is_loopback(host: str) -> bool:
    """Whether all addresses of a host are this machine's own; a name that has none is told apart when it is bound."""
    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return True
    return all(ipaddress.ip_address(str(address[0]).split("%")[0]).is_loopback for *_, address in found)
