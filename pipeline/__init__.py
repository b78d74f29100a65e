"""Advertising events in, an hourly report out: plain functions, Beam transforms, and the whole job.

Names are imported when they are first used, so that the plain functions work without loading Beam.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.decoding import Block, decode
    from pipeline.errors import EventError, InputError, PipelineError, RejectsError, UsageError
    from pipeline.events import EVENT_TYPES, Batch, Reject
    from pipeline.ids import unique_ids
    from pipeline.report import HourlyReport, Job, Summary, run_job
    from pipeline.sinks import WriteFile
    from pipeline.sources import InputFile, ReadBlocks, find_files
    from pipeline.table import csv_text, hourly_table, scale_impressions, write_csv
    from pipeline.transforms import (
        BatchEvents,
        DecodeBlocks,
        DistinctIds,
        FormatCsv,
        HourlyTable,
        ScaleImpressions,
        UniqueIds,
    )

_MODULES = {
    "decoding": ("Block", "decode"),
    "errors": ("EventError", "InputError", "PipelineError", "RejectsError", "UsageError"),
    "events": ("EVENT_TYPES", "Batch", "Reject"),
    "ids": ("unique_ids",),
    "report": ("HourlyReport", "Job", "Summary", "run_job"),
    "sinks": ("WriteFile",),
    "sources": ("InputFile", "ReadBlocks", "find_files"),
    "table": ("csv_text", "hourly_table", "scale_impressions", "write_csv"),
    "transforms": (
        "BatchEvents",
        "DecodeBlocks",
        "DistinctIds",
        "FormatCsv",
        "HourlyTable",
        "ScaleImpressions",
        "UniqueIds",
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    return getattr(importlib.import_module(f"pipeline.{_HOMES[name]}"), name)
