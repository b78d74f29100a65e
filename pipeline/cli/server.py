"""The server's command line: `hourly-report-server --port 8080`, which is `python server.py`, too."""

from collections.abc import Sequence

from pipeline.cli.server_options import parse_settings
from pipeline.engine import logs
from pipeline.errors import OptionError, PipelineError, UsageError
from pipeline.serving import journal
from pipeline.serving.supervisor import serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until it is stopped. The status: 0 stopped, 1 workers crash, 2 wrong usage."""
    logs.configure()
    settings = parse_settings(arguments)
    try:
        serve(settings)
        return 0
    except PipelineError as error:
        text = f"--{error}" if isinstance(error, OptionError) else str(error)
        journal.say(settings.log_format, "error", text)
        return 2 if isinstance(error, UsageError) else 1


def run_program() -> int:
    """Runs the server as a program; returns the status."""
    return main()
