"""The transforms of Beam YAML: rows in, rows out, and errors as an output or the end of the pipeline."""

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.typehints.schemas import named_fields_from_element_type

from pipeline import EventError, HourlyRows
from pipeline.transforms.beam_yaml import ParseEvents, UniqueIdRows
from tests import support
from tests.support import EXAMPLE_EVENTS

ROWS = [beam.Row(**event) for event in EXAMPLE_EVENTS]
LINES = [beam.Row(line=line) for line in support.json_lines(EXAMPLE_EVENTS).decode().splitlines()]


@pytest.mark.parametrize(("rows", "field"), [(ROWS, None), (LINES, "line")])
def test_rows_in_and_rows_out(rows: list[beam.Row], field: str | None) -> None:
    with support.beam_pipeline() as pipeline:
        batches = pipeline | beam.Create(rows) | ParseEvents(field)
        ids = batches | UniqueIdRows()
        assert_that(batches | HourlyRows() | beam.Map(lambda row: row.hour[11:13]), equal_to(["18", "20", "22"]))
        assert_that(ids | beam.Map(lambda row: row.id), equal_to([event["id"] for event in EXAMPLE_EVENTS]), "ids")
    assert named_fields_from_element_type(ids.element_type) == [("id", str)]


def test_an_invalid_row_ends_the_pipeline_by_default() -> None:
    with pytest.raises(EventError, match=r'missing id: \{"event"'), support.beam_pipeline() as pipeline:
        _ = pipeline | beam.Create([beam.Row(event="video_25", timestamp=1)]) | ParseEvents()


def test_invalid_rows_are_an_output_where_errors_are_handled() -> None:
    with support.beam_pipeline() as pipeline:
        rows = beam.Create([*LINES, beam.Row(line="x")])
        outputs = pipeline | rows | ParseEvents("line", error_handling={"output": "invalid"})
        assert_that(outputs["good"] | HourlyRows() | beam.combiners.Count.Globally(), equal_to([3]))
        texts = outputs["invalid"] | beam.Map(lambda row: f"{row.element} {row.msg[:8]}")
        assert_that(texts, equal_to(["x not JSON"]), "invalid")
    assert dict(named_fields_from_element_type(outputs["invalid"].element_type)) == {"element": str, "msg": str}
