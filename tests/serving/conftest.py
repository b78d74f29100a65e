"""What the tests of a file share: the application in this process, or a real server."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.serving_support import LIMIT, Server, build_app, running


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An application with a slot, for the tests that leave it as it was."""
    return build_app(tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for the tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("shared") / "tmp"
    with running(folder, "--max_body_bytes", str(LIMIT), "--processes", "2") as server:
        yield server
