"""Advertising events in, an hourly report out: plain functions, Beam transforms, and the whole job.

Each is imported when it is first used: the plain functions work without loading Beam (1 s), and a Ctrl-C while
libraries are imported meets a program that can answer.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.batch.graph import HourlyReport
    from pipeline.batch.job import Job
    from pipeline.batch.run import run_job
    from pipeline.errors import EventError, InputError, PipelineError, RejectsError, UsageError
    from pipeline.formats.decoding import Block, decode
    from pipeline.model.events import Batch, Reject
    from pipeline.model.ids import unique_ids
    from pipeline.model.table import csv_text, hourly_table, scale_impressions, write_csv
    from pipeline.model.tally import Summary
    from pipeline.schema import EVENT_TYPES
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


_WHERE = {
    "EVENT_TYPES": "schema",
    "EventError": "errors",
    "InputError": "errors",
    "PipelineError": "errors",
    "RejectsError": "errors",
    "UsageError": "errors",
    "Block": "formats.decoding",
    "decode": "formats.decoding",
    "Batch": "model.events",
    "Reject": "model.events",
    "unique_ids": "model.ids",
    "csv_text": "model.table",
    "hourly_table": "model.table",
    "scale_impressions": "model.table",
    "write_csv": "model.table",
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
    if name in _WHERE:
        return getattr(importlib.import_module(f"pipeline.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
