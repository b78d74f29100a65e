"""The server's command line: `hourly-report-server --port 8080`, which is `python server.py`, too."""

from collections.abc import Sequence

from pipeline.engine import logs
from pipeline.serving.settings import parse_settings
from pipeline.serving.supervisor import serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until it is stopped; returns the status, 2 for wrong usage."""
    logs.configure()
    return serve(parse_settings(arguments))


def run_program() -> int:
    """Runs the server as a program of its own; the status."""
    return main()
