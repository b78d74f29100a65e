"""The server's command line: `hourly-report-server --port 8080` or `python server.py --port 8080`."""

import argparse
import importlib.util
import ipaddress
import logging
import os
import socket
import stat
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from pipeline import __version__
from pipeline.cli.arguments import SKIP_REJECTS, add_report_options, canonical, read_report_options
from pipeline.engine import logs
from pipeline.engine.imports import trimmed_imports
from pipeline.engine.option_parser import OptionParser
from pipeline.errors import OptionError, PipelineError, UsageError
from pipeline.model.hours import inverted_zone_warning
from pipeline.serving import Settings, telemetry

_EXTRA = ("bottle", "gunicorn", "prometheus_client")
_SHORTEST_TOKEN = 16  # characters; shorter ones can be guessed

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until it is stopped.

    Returns:
      The exit status: 0 stopped, 1 failure, 2 wrong usage.
    """
    logs.configure()
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        logs.print_line(f"error: {missing[0]} is not installed: pip install 'hourly-ad-report[server]'")
        return 1
    from pipeline.serving.gunicorn_server import serve

    log_format = "text"
    try:
        settings = _read_settings(sys.argv[1:] if arguments is None else arguments)
        log_format = settings.log_format
        telemetry.configure(log_format)
        serve(settings)
        return 0
    except PipelineError as error:
        text = f"--{error}" if isinstance(error, OptionError) else str(error)
        logs.print_line(telemetry.format_message(log_format, "error", text))
        return 2 if isinstance(error, UsageError) else 1


def _read_settings(arguments: Sequence[str]) -> Settings:
    """Runs parse_settings in a child process, since Beam must not be loaded before workers fork."""
    with ProcessPoolExecutor(1, get_context("fork")) as process:
        return process.submit(parse_settings, list(arguments)).result()


def parse_settings(arguments: Sequence[str]) -> Settings:
    """Returns the settings of a command line. Loads Beam only to check its options or a staging folder.

    Raises:
      UsageError: an option is invalid.
    """
    parser = make_parser()
    known, beam_arguments = parser.parse_known_args(canonical(arguments, parser.actions_by_name()))
    telemetry.configure(known.log_format)
    known.token = _read_token(known.token_file) if known.token_file else None
    known.report = read_report_options(known)
    known.beam_arguments = tuple(beam_arguments)
    if warning := inverted_zone_warning(known.report.time_zone):
        _log.warning(warning)
    if not (known.token or known.insecure or known.unix_socket or _is_loopback(known.host)):
        raise UsageError(
            f"--host {known.host}: refusing to listen on a public address without --token_file "
            "(override with --insecure)"
        )
    settings = Settings(**{name: getattr(known, name) for name in vars(Settings())})
    if beam_arguments or settings.staging_location:
        _check_beam(settings, parser)
    return settings


def make_parser() -> OptionParser:
    """Returns the parser of the server's own options."""
    parser = OptionParser(
        prog="hourly-report-server",
        description="POST advertising events, get the hourly report as CSV.",
        epilog="All options of Apache Beam work too.",
        allow_abbrev=False,
    )
    _add_options(parser.add_argument)
    group = parser.add_argument_group(
        "reports", "defaults, which the query of a request overrides: POST /?time_zone=UTC"
    )
    add_report_options(group.add_argument)
    group.add_argument("--skip_rejects", action="store_true", help=SKIP_REJECTS)
    parser.set_defaults(**vars(Settings()))
    return parser


def _add_options(plain: Callable[..., object]) -> None:
    def add(name: str, kind: Callable[[str], object], metavar: str, text: str) -> None:
        plain(name, type=kind, metavar=metavar, help=f"{text} (default %(default)s)")

    add("--host", str, "HOST", "address to listen on")
    add("--port", _between(0, 65535), "PORT", "port to listen on; 0 selects a free one")
    plain("--unix_socket", metavar="PATH", help="listen on a Unix socket instead, for a proxy on this machine")
    plain("--processes", type=_between(1, 1024), metavar="N", help="worker processes (default: one per CPU)")
    add("--concurrency", _between(1, 1024), "N", "concurrent reports per worker")
    add("--queue_timeout", _between(0, 86400, float), "SECONDS", "how long a request may wait before it gets 503")
    add("--shutdown_timeout", _between(0, 86400), "SECONDS", "how long requests may take to finish after SIGTERM")
    add("--max_body_bytes", _between(1, 2**62), "N", "largest body, also after decompression")
    plain("--token_file", metavar="FILE", help="POST and /metrics need the bearer token in this file")
    plain("--insecure", action="store_true", help="listen on a public address, and accept any Host, without a token")
    plain("--reports", metavar="FOLDER", type=_folder, help="show a stream's output folder on the page, read only")
    plain("--staging_location", metavar="FOLDER", help="folder in a bucket, for runners that do not see this disk")
    plain("--log_format", choices=telemetry.FORMATS, help="format of the log on stderr (default %(default)s)")
    plain("-V", "--version", action="version", version=f"%(prog)s {__version__}", help="print the version and exit")


def _check_beam(settings: Settings, parser: OptionParser) -> None:
    with trimmed_imports([*settings.beam_arguments, settings.staging_location or ""]):
        from pipeline.engine.runners import check_names
        from pipeline.serving.app import check_settings

    check_names(settings.beam_arguments, parser.actions_by_name())
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
    """Reads a token file; warns if other users can read it or the token is short."""
    try:
        token, mode = Path(path).read_text("ascii").strip(), os.stat(path).st_mode
    except OSError as error:
        raise UsageError(f"--token_file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--token_file {path}: the token must be ASCII text") from None
    if not token or any(character.isspace() for character in token):
        raise UsageError(f"--token_file {path}: must contain one token")
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        _log.warning("--token_file %s: readable by other users; use chmod 600", path)
    if len(token) < _SHORTEST_TOKEN:
        _log.warning(
            "--token_file %s: the token has fewer than 16 characters; generate one: openssl rand -hex 16", path
        )
    return token


def _is_loopback(host: str) -> bool:
    """Whether all addresses of a host are loopback; binding rejects unknown hosts later."""
    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return True
    return all(ipaddress.ip_address(str(address[0]).split("%")[0]).is_loopback for *_, address in found)
