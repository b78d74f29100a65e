"""What a program of this project logs: warnings, one line each, on stderr."""

import logging

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


def _is_news(record: logging.LogRecord) -> bool:
    """False for what is said elsewhere: users' errors, which Beam logs with a traceback before it raises them."""
    if record.exc_info and isinstance(record.exc_info[1], PipelineError):
        return False
    return not str(record.msg).startswith(_SAID_ELSEWHERE)
