"""Who gets in: told from the head of a request."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.serving import Settings
from tests.serving_support import (
    SAMPLE,
    build_app,
    call,
)


def test_unknown_encoding(app: Any) -> None:
    assert call(app, SAMPLE, HTTP_CONTENT_ENCODING="br").problem["status"] == 415


@pytest.mark.parametrize("shown", [None, "Bearer", "Bearer wrong", "Basic secret", "secret", "Bearer \xe9"])
def test_token(tmp_path: Path, shown: str | None) -> None:
    app = build_app(tmp_path, Settings(token="secret"))
    answer = call(app, SAMPLE, **({} if shown is None else {"HTTP_AUTHORIZATION": shown}))
    assert answer.problem["status"] == 401
    assert answer.headers["Www-Authenticate"].startswith("Bearer")
    assert call(app, SAMPLE, HTTP_AUTHORIZATION="Bearer secret").status == 200
    assert call(app, SAMPLE, HTTP_AUTHORIZATION="bearer secret").status == 200
    assert call(app, method="GET").status == 200
