"""Advertising events in, an hourly report out: plain functions, Beam transforms, and the whole job.

What needs Beam is imported when it is first used, so that the plain functions work without loading it (1 s).
"""

import importlib
from typing import TYPE_CHECKING, Any

from pipeline.errors import EventError, InputError, PipelineError, RejectsError, UsageError
from pipeline.formats.decoding import Block, decode
from pipeline.model.events import Batch, Reject
from pipeline.model.ids import unique_ids
from pipeline.model.table import csv_text, hourly_table, scale_impressions, write_csv
from pipeline.schema import EVENT_TYPES

if TYPE_CHECKING:
    from pipeline.batch.graph import HourlyReport
    from pipeline.batch.job import Job
    from pipeline.batch.run import run_job
    from pipeline.model.tally import Summary
    from pipeline.storage.files import InputFile
    from pipeline.storage.matching import find_files
    from pipeline.transforms.count import HourlyTable, ScaleImpressions
    from pipeline.transforms.decode import BatchEvents, DecodeBlocks
    from pipeline.transforms.deduplicate import DropDuplicates
    from pipeline.transforms.format import FormatCsv
    from pipeline.transforms.ids import DistinctIds, UniqueIds
    from pipeline.transforms.read import ReadBlocks
    from pipeline.transforms.write import WriteFile

__all__ = [
    "EVENT_TYPES",
    "Batch",
    "BatchEvents",
    "Block",
    "DecodeBlocks",
    "DistinctIds",
    "DropDuplicates",
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


_WITH_BEAM = {
    "DropDuplicates": "transforms.deduplicate",
    "DecodeBlocks": "transforms.decode",
    "BatchEvents": "transforms.decode",
    "DistinctIds": "transforms.ids",
    "UniqueIds": "transforms.ids",
    "FormatCsv": "transforms.format",
    "HourlyTable": "transforms.count",
    "ScaleImpressions": "transforms.count",
    "ReadBlocks": "transforms.read",
    "WriteFile": "transforms.write",
    "HourlyReport": "batch.graph",
    "Job": "batch.job",
    "Summary": "model.tally",
    "run_job": "batch.run",
    "InputFile": "storage.files",
    "find_files": "storage.matching",
}


def __getattr__(name: str) -> Any:
    if name in _WITH_BEAM:
        return getattr(importlib.import_module(f"pipeline.{_WITH_BEAM[name]}"), name)
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
