"""Options of a report, shared by batch, stream and server."""

import dataclasses
from collections.abc import Callable
from typing import Any

from pipeline.errors import ZoneError
from pipeline.model.settings import ReportSettings
from pipeline.model.table import DEFAULT_FACTOR
from pipeline.model.zones import DEFAULT_UTC_OFFSET

SKIP_REJECTS = "skip invalid records and continue; the summary counts them"


def add_report_options(add: Callable[..., Any]) -> None:
    """Adds the options of a report except --skip_rejects, which has an alternative on the command line.

    Args:
      add: add_argument of a parser or group.
    """
    add("--utc_offset", metavar="+HH:MM", help=f"the report's hours (default {DEFAULT_UTC_OFFSET})")
    add("--time_zone", metavar="NAME", help="hours of local clocks, with summer time: Europe/Paris")
    add("--impressions_factor", default=DEFAULT_FACTOR, metavar="N", help="scales impressions (default %(default)s)")
    add("--deduplicate", action="store_true", help="count events equal in id, event and timestamp once")


def read_report_options(options: object) -> ReportSettings:
    """Returns the settings of a report.

    Args:
      options: has the options as attributes.

    Raises:
      UsageError: a value is invalid.
    """
    names = [field.name for field in dataclasses.fields(ReportSettings)]
    try:
        return ReportSettings(**{name: getattr(options, name) for name in names})
    except ZoneError as error:
        raise error.spelled("--{} {}".format) from None
