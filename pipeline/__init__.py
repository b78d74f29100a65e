"""Advertising events in, an hourly report out: plain functions, Beam transforms, and the whole job.

What needs Beam is imported when it is first used, so that the plain functions work without loading it (1 s).
"""

import importlib
from typing import TYPE_CHECKING, Any

from pipeline.decoding import Block, decode
from pipeline.errors import EventError, InputError, PipelineError, RejectsError, UsageError
from pipeline.events import EVENT_TYPES, Batch, Reject
from pipeline.ids import unique_ids
from pipeline.table import csv_text, hourly_table, scale_impressions, write_csv

if TYPE_CHECKING:
    from pipeline.files import InputFile, find_files
    from pipeline.report import HourlyReport, Job, Summary, run_job
    from pipeline.sinks import WriteFile
    from pipeline.sources import ReadBlocks
    from pipeline.transforms import (
        BatchEvents,
        DecodeBlocks,
        DistinctIds,
        FormatCsv,
        HourlyTable,
        ScaleImpressions,
        UniqueIds,
    )

__all__ = [
    "EVENT_TYPES",
    "Batch",
    "BatchEvents",
    "Block",
    "DecodeBlocks",
    "DistinctIds",
    "EventError",
    "FormatCsv",
    "HourlyReport",
    "HourlyTable",
    "InputError",
    "InputFile",
    "Job",
    "PipelineError",
    "ReadBlocks",
    "Reject",
    "RejectsError",
    "ScaleImpressions",
    "Summary",
    "UniqueIds",
    "UsageError",
    "WriteFile",
    "csv_text",
    "decode",
    "find_files",
    "hourly_table",
    "run_job",
    "scale_impressions",
    "unique_ids",
    "write_csv",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in ("files", "report", "sinks", "sources", "transforms"):
            found = vars(importlib.import_module(f"pipeline.{module}"))
            if name in found:
                return found[name]
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
