"""The server's command line: `hourly-report-server --port 8080` or `python server.py --port 8080`."""

import importlib.util
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from pipeline.cli.server_options import parse_settings
from pipeline.engine import logs
from pipeline.errors import OptionError, PipelineError, UsageError
from pipeline.serving import access_log
from pipeline.serving.settings import Settings

_EXTRA = ("bottle", "gunicorn", "prometheus_client")


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
        access_log.configure(log_format)
        serve(settings)
        return 0
    except PipelineError as error:
        text = f"--{error}" if isinstance(error, OptionError) else str(error)
        logs.print_line(access_log.format_message(log_format, "error", text))
        return 2 if isinstance(error, UsageError) else 1


def _read_settings(arguments: Sequence[str]) -> Settings:
    """Runs parse_settings in a child process, since Beam must not be loaded before workers fork."""
    with ProcessPoolExecutor(1, get_context("fork")) as process:
        return process.submit(parse_settings, list(arguments)).result()
