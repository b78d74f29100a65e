"""The options of the server, checked before anything starts."""

import argparse
import ipaddress
import logging
import os
import socket
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.cli.arguments import canonical
from pipeline.engine.imports import trimmed_imports
from pipeline.errors import UsageError, ZoneError
from pipeline.model.settings import DEFAULT_REPORT, PARAMETERS
from pipeline.model.zones import DEFAULT_UTC_OFFSET, inverted_zone_warning
from pipeline.serving import access_log
from pipeline.serving.settings import Settings
from pipeline.version import VERSION

_SHORTEST_TOKEN = 16  # characters; shorter ones can be guessed


_log = logging.getLogger(__name__)


def parse_settings(arguments: Sequence[str]) -> Settings:
    """Returns the settings of a command line; wrong usage ends the program with status 2.

    Loads Beam where there are options of Beam, or there is a staging folder, to check them.

    Raises:
      UsageError: these cannot work.
    """
    parser = _parser()
    known, beam_arguments = parser.parse_known_args(canonical(arguments, parser._option_string_actions))
    values = vars(known)
    token_file = values.pop("token_file")
    report = {name: value for name in PARAMETERS if (value := values.pop(name)) is not None}
    access_log.configure(known.log_format)
    token = None
    try:
        if token_file:
            token = _read_token(token_file)
        values["report"] = DEFAULT_REPORT.replace(report)
        if warning := inverted_zone_warning(values["report"].time_zone):
            _log.warning(warning)
    except ZoneError as error:
        parser.error(str(error.spelled("--{} {}".format)))
    except (ValueError, UsageError) as error:
        parser.error(str(error))
    if not (token or known.insecure or known.unix_socket or _is_loopback(known.host)):
        parser.error(
            f"--host {known.host}: refusing to listen on a public address without --token_file "
            "(override with --insecure)"
        )
    settings = Settings(**values, token=token, beam_arguments=tuple(beam_arguments))
    if beam_arguments or settings.staging_location:
        _check_beam(settings, parser)
    return settings


def _parser() -> argparse.ArgumentParser:
    default = Settings()
    parser = argparse.ArgumentParser(
        prog="hourly-report-server",
        description="POST advertising events, get the hourly report as CSV.",
        epilog="All options of Apache Beam work too.",
        allow_abbrev=False,
    )

    def add(name: str, kind: Callable[[str], object], text: str) -> None:
        value = getattr(default, name)
        parser.add_argument(f"--{name}", type=kind, default=value, help=f"{text} (default %(default)s)")

    add("host", str, "address to listen on")
    add("port", _between(0, 65535), "0 takes a free one")
    parser.add_argument("--unix_socket", metavar="PATH", help="listen there instead, for a proxy on this machine")
    add("processes", _between(1, 1024), "worker processes; the default is one per CPU")
    add("concurrency", _between(1, 1024), "reports that a worker makes at a time")
    add(
        "queue_timeout",
        _between(0, 86400, float),
        "seconds that a request may wait for its turn; then it is answered 503",
    )
    add("shutdown_timeout", _between(0, 86400), "seconds to finish requests in after SIGTERM")
    add("max_body_bytes", _between(1, 2**62), "largest body, also after decompression")
    parser.add_argument("--token_file", metavar="FILE", help="POST needs the token in this file, as a bearer token")
    parser.add_argument("--insecure", action="store_true", help="serve public addresses and any Host without a token")
    parser.add_argument(
        "--reports", metavar="FOLDER", type=_folder, help="show a stream's output folder on the page, read only"
    )
    parser.add_argument(
        "--staging_location", metavar="FOLDER", help="in a bucket, for runners whose workers do not see this disk"
    )
    parser.add_argument(
        "--log_format", choices=access_log.FORMATS, default=default.log_format, help="of stderr (default %(default)s)"
    )
    parser.add_argument("-V", "--version", action="version", version=f"%(prog)s {VERSION}")
    _add_report_options(parser)
    return parser


def _add_report_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("reports", "what a request may set otherwise, as POST /?time_zone=UTC")
    group.add_argument("--utc_offset", metavar="+HH:MM", help=f"of the hours (default {DEFAULT_UTC_OFFSET})")
    group.add_argument("--time_zone", metavar="NAME", help="hours of local clocks, with summer time: Europe/Paris")
    factor = DEFAULT_REPORT.impressions_factor
    group.add_argument("--impressions_factor", metavar="N", help=f"scales impressions (default {factor})")
    group.add_argument(
        "--deduplicate", action="store_const", const="true", help="count events equal in all three fields once"
    )
    group.add_argument("--rejects", metavar="refuse|skip", help="what is done with invalid records (default refuse)")


def _check_beam(settings: Settings, parser: argparse.ArgumentParser) -> None:
    with trimmed_imports([*settings.beam_arguments, settings.staging_location or ""]):
        from pipeline.engine.runners import check_names
        from pipeline.serving.worker import check_settings

    check_names(settings.beam_arguments, parser._option_string_actions)
    check_settings(settings)


def _folder(path: str) -> str:
    if not os.path.isdir(path):
        raise argparse.ArgumentTypeError(f"{path} is not a folder")
    return os.path.abspath(path)


def _between(low: int, high: int, kind: type[int] | type[float] = int) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be from {low} to {high}")
        return value

    return number


def _read_token(path: str) -> str:
    """Returns the token in a file; warns of one that others can read, or guess."""
    try:
        token, mode = Path(path).read_text("ascii").strip(), os.stat(path).st_mode
    except OSError as error:
        raise ValueError(f"--token_file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"--token_file {path}: a token is ASCII text") from None
    if not token or any(character.isspace() for character in token):
        raise ValueError(f"--token_file {path}: must hold one token")
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        _log.warning("--token_file %s: other users can read it; use chmod 600", path)
    if len(token) < _SHORTEST_TOKEN:
        _log.warning("--token_file %s: the token is short; use a random one: openssl rand -hex 16", path)
    return token


def _is_loopback(host: str) -> bool:
    """Whether all addresses of a host are loopback; a name without an address is refused later, when it is bound."""
    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return True
    return all(ipaddress.ip_address(str(address[0]).split("%")[0]).is_loopback for *_, address in found)
