"""What a worker may use."""

import os
import resource

import pytest

from pipeline.serving import resources


def test_cores_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """As macOS."""
    monkeypatch.delattr(os, "sched_getaffinity")
    assert resources.cores() == os.cpu_count()


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "connections"),
    [
        (1024, 1024, None, 400),
        (256, 1024, 1024, 400),
        (1024, 1_000_000, 2224, 1000),
        (1024, resource.RLIM_INFINITY, 2224, 1000),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, 1000),
        (64, 64, None, 16),
    ],
)
def test_connections(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised: int | None, connections: int
) -> None:
    """As many as there are files for."""
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, values: set_to.append(values))
    assert resources.connections(slots=2) == connections
    assert set_to == ([] if raised is None else [(raised, hard)])
