"""Tables and ids as the bytes of their files."""

import apache_beam as beam
from apache_beam.testing.util import assert_that

from pipeline import (
    FormatCsv,
    hourly_table,
    scale_impressions,
)
from tests import support
from tests.support import EXAMPLE_EVENTS, EXAMPLE_REPORT, only


def test_format_csv() -> None:
    table = scale_impressions(hourly_table(EXAMPLE_EVENTS))
    with support.beam_pipeline() as pipeline:
        assert_that(pipeline | beam.Create([table]) | FormatCsv(), only((0, EXAMPLE_REPORT.encode())))
