"""What is logged: not the traceback of a connection to an engine that was ended, of which the run itself tells."""

import logging
import sys

import pytest

from pipeline.engine import logs
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


def test_tracebacks_of_users_errors_are_not_said_twice(capsys: pytest.CaptureFixture[str]) -> None:
    stream = logs.Filtered(sys.stderr)
    for text in (
        "Traceback (most recent call last):\n  ...\npipeline.errors.RejectsError: 1 of 2 [while running 'x']\n",
        "\n",
        "Traceback (most recent call last):\n  ...\nValueError: a defect\n",
        "\n",
    ):
        stream.write(text)
    assert capsys.readouterr().err == "Traceback (most recent call last):\n  ...\nValueError: a defect\n\n"
