"""Settings of all tests."""

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from pipeline.engine.run_state import run_state
from tests import memory_bucket
from tests.support import Files

# The same examples in every run, no files left behind, and no limit on how long a slow machine may take.
settings.register_profile(
    "repeatable", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def no_earlier_run() -> Iterator[None]:
    """What a run of one test leaves in the process is not met by the next."""
    level = logging.getLogger().level
    yield
    run_state.clear()
    logging.getLogger().setLevel(level)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """The six example events, and a folder for outputs."""
    return Files(tmp_path)


@pytest.fixture
def foreground() -> Iterator[None]:
    """Programs that the test starts get SIGINT and SIGHUP, also where the tests run as a background job or by nohup."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def empty_bucket() -> Iterator[None]:
    """Buckets of mem:// are empty before a test and after it."""
    memory_bucket.OBJECTS.clear()
    yield
    memory_bucket.OBJECTS.clear()
