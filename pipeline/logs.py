"""What a program of this project logs: warnings, one line each, on stderr."""

import logging
import threading

from pipeline.errors import PipelineError

_SAID_ELSEWHERE = (
    "apitools not found",
    "Error in _start_upload while inserting file",  # of S3
    "HTTP error while requesting file",
)


def configure() -> None:
    """Sets up logging. To be called before Beam is imported, since it warns at import of extras that are not needed."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", force=True)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_news)
    logging.getLogger("apache_beam.utils.subprocess_server").setLevel(logging.ERROR)  # warns of each start of Prism
    threading.excepthook = _log_thread


def _is_news(record: logging.LogRecord) -> bool:
    """False for what is said elsewhere: users' errors, which Beam logs with a traceback before it raises them."""
    if record.name == "PrismRunner" and record.levelno < logging.ERROR:
        return False
    if record.exc_info and isinstance(record.exc_info[1], PipelineError):
        return False
    return not str(record.msg).startswith(_SAID_ELSEWHERE)


def _log_thread(failure: threading.ExceptHookArgs) -> None:
    """The end of a thread: Beam's threads end so when an engine is lost, which the run itself reports."""
    logging.getLogger(__name__).debug("a thread ended", exc_info=failure.exc_value)
