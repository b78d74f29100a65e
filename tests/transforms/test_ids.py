"""Unique ids on two runners, in the order of the plain function."""

from typing import Any

import pytest
from apache_beam.testing.util import assert_that, equal_to

from pipeline import DistinctIds, UniqueIds, unique_ids
from pipeline.transforms.ids import FormatIds
from tests import oracle, support
from tests.support import EXAMPLE_EVENTS, MANY, batches, event, on_both_runners


@on_both_runners
@pytest.mark.parametrize("events", [EXAMPLE_EVENTS, []])
def test_unique_ids(runner: str, events: list[dict[str, Any]]) -> None:
    with support.beam_pipeline(runner) as pipeline:
        ids = batches(pipeline, [*events, *events[::-1]]) | UniqueIds()
        assert_that(ids, equal_to([item["id"] for item in events]))


@on_both_runners
def test_unique_ids_of_many_events(runner: str) -> None:
    odd = [event(identity) for identity in ("é", "e\u0301", "日本", "\U0001f600", "a\nb", " ", "\0", "x" * 5000)] * 2
    with support.beam_pipeline(runner) as pipeline:
        found = batches(pipeline, MANY + odd) | UniqueIds()
        assert_that(found, equal_to(sorted(oracle.unique_ids((e["id"], "", 0) for e in MANY + odd))))


def test_distinct_ids_are_in_the_order_of_the_plain_function() -> None:
    def check(pieces: list[tuple[int, bytes]]) -> None:
        lines = b"".join(data for _, data in sorted(pieces))
        assert lines.decode().splitlines() == unique_ids(MANY)

    with support.beam_pipeline() as pipeline:
        assert_that(batches(pipeline, MANY) | DistinctIds() | FormatIds(), check)
