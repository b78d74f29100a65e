"""The options of the server, checked before anything starts."""

import argparse
import ipaddress
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.cli.arguments import canonical
from pipeline.errors import UsageError, ZoneError
from pipeline.model.settings import DEFAULT_REPORT, PARAMETERS
from pipeline.model.zones import DEFAULT_UTC_OFFSET
from pipeline.serving.journal import FORMATS
from pipeline.serving.settings import Settings


def parse_settings(arguments: Sequence[str] | None) -> Settings:
    """The settings of a command line; wrong usage ends the program with status 2."""
    parser = _parser()
    typed = canonical(sys.argv[1:] if arguments is None else arguments, parser._option_string_actions)
    known, beam_arguments = parser.parse_known_args(typed)
    values = vars(known)
    token_file, insecure = values.pop("token_file"), values.pop("insecure")
    asked = {name: value for name in PARAMETERS if (value := values.pop(name)) is not None}
    try:
        if beam_arguments:
            _check_beam_names(beam_arguments, parser)
        token = _read_token(token_file) if token_file else None
        values["report"] = DEFAULT_REPORT.replace(asked)
    except ZoneError as error:
        parser.error(str(error.spelled("--{} {}".format)))
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
    group.add_argument("--rejects", metavar="refuse|skip", help="what invalid records do (default refuse)")
    parser.add_argument(
        "--log_format", choices=FORMATS, default=default.log_format, help="of the lines on stderr (default %(default)s)"
    )
    parser.add_argument("--insecure", action="store_true", help="listen on a public address without a token")
    return parser


def _check_beam_names(arguments: Sequence[str], parser: argparse.ArgumentParser) -> None:
    from pipeline.engine.runners import check_names  # Beam, which this process needs for nothing else

    check_names(arguments, parser._option_string_actions)


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
    """Whether all addresses of a host are loopback; a name without an address is refused later, when it is bound."""
    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return True
    return all(ipaddress.ip_address(str(address[0]).split("%")[0]).is_loopback for *_, address in found)
