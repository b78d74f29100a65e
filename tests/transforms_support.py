"""What tests of the transforms and of the whole graph share."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from pipeline import (
    BatchEvents,
    Job,
    find_files,
)
from pipeline.model.events import Batch
from tests import oracle, support
from tests.support import EXAMPLE_EVENTS, event

on_both_runners = pytest.mark.parametrize("runner", support.RUNNERS)

MANY = [event(f"id-{k % 400}", oracle.EVENTS[k % 6], 1617393003 + k * 97) for k in range(3000)]


def batches(pipeline: beam.Pipeline, events: list[dict[str, Any]]) -> beam.PCollection[Batch]:
    """Events as a source of many small bundles gives them."""
    return pipeline | "Events" >> beam.Create(events) | BatchEvents()


def only(wanted: Any) -> Callable[[list[Any]], None]:
    """A matcher: one element, equal to this."""

    def check(found: list[Any]) -> None:
        assert found == [wanted]

    return check


@dataclasses.dataclass
class Files:
    """Inputs of three shapes with the six example events, and where outputs go."""

    folder: Path

    def job(self, **changes: Any) -> Job:
        inputs = self.folder / "in"
        inputs.mkdir()
        (inputs / "a.json").write_text(json.dumps(EXAMPLE_EVENTS[:2]))
        (inputs / "b.json").write_text(json.dumps({"mock_for_test": EXAMPLE_EVENTS[2:4]}))
        (inputs / "c.jsonl").write_bytes(support.json_lines(EXAMPLE_EVENTS[4:]))
        return dataclasses.replace(
            Job(tuple(find_files([str(inputs)])), self.path("report.csv")), **support.with_report(changes)
        )

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def outputs(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.name != "in")
