"""What is logged: not the traceback of a connection to an engine that was ended, of which the run itself tells."""

import logging

import pytest

from pipeline.engine.logs import _is_new


@pytest.mark.parametrize(
    ("message", "news"),
    [
        ("Failed to read inputs in the data plane.", False),
        ("Failed to read the clock.", True),
    ],
)
def test_a_lost_engine_is_told_of_by_the_run(message: str, news: bool) -> None:
    try:
        raise ConnectionError("Stream removed")
    except ConnectionError as error:
        traceback = (type(error), error, error.__traceback__)
    record = logging.LogRecord("apache_beam", logging.ERROR, "data_plane.py", 1, message, (), traceback)
    assert _is_new(record) is news
