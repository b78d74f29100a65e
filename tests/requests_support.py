"""What tests of requests with options share."""

from typing import Any
from urllib.parse import urlencode

from tests import oracle
from tests.serving_support import SAMPLE, Answer, call

ROWS = oracle.read(SAMPLE).events


def ask(app: Any, body: bytes = SAMPLE, **options: str) -> Answer:
    return call(app, body, QUERY_STRING=urlencode(options))
