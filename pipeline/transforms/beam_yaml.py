"""Transforms for Beam YAML: rows in, rows out, and errors in the conventions of Beam YAML."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import apache_beam as beam

from pipeline.errors import EventError
from pipeline.transforms.decode import BatchEvents, InvalidEvent
from pipeline.transforms.ids import UniqueIds


class IdRow(NamedTuple):
    """A unique id."""

    id: str


class ErrorRow(NamedTuple):
    """An invalid row, and the reason."""

    element: str
    msg: str


class ParseEvents(beam.PTransform):  # type: ignore[misc]
    """Decodes rows into batches of events, for HourlyRows and UniqueIds.

    Args:
      field: the field that holds an event as JSON, such as "line" of ReadFromText or "payload" of ReadFromPubSub; by
        default the row itself has the fields id, event and timestamp.
      error_handling: {output: NAME} sends invalid rows to an output of that name; by default an invalid row
        fails the pipeline.
    """

    def __init__(self, field: str | None = None, error_handling: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._field, self._errors = field, (error_handling or {}).get("output")

    def expand(self, rows: beam.PCollection[Any]) -> Any:
        if self._field:
            rows = rows | "Field" >> beam.Map(getattr, self._field)
        batches = rows | "Batch" >> BatchEvents()
        if self._errors:
            return {"good": batches, self._errors: batches.errors | "Errors" >> beam.Map(_error_row)}
        _ = batches.errors | "Refuse" >> beam.Map(_refuse)
        return batches


class UniqueIdRows(beam.PTransform):  # type: ignore[misc]
    """Each id once, as a row with the field id."""

    def expand(self, batches: beam.PCollection[Any]) -> beam.PCollection[IdRow]:
        return batches | "Unique ids" >> UniqueIds() | "Rows" >> beam.Map(IdRow).with_output_types(IdRow)


def _error_row(error: InvalidEvent) -> ErrorRow:
    return ErrorRow(_as_text(error.record), error.reason)


def _as_text(record: Any) -> str:
    if isinstance(record, bytes):
        return record.decode("utf-8", "backslashreplace")
    return json.dumps(record._asdict(), default=str) if hasattr(record, "_asdict") else str(record)


def _refuse(error: InvalidEvent) -> None:
    raise EventError(f"{error.reason}: {_as_text(error.record)[:200]}")
