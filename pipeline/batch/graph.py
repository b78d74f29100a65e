"""The graph of a batch.

read blocks -> decode -> +-> count by hour and event -> sum -> pivot -> scale -> write CSV
                         +-> partition ids -> group -> unique -> write ids
                         +-> rejects -> write
                                                            The CSV -> in its page -> write chart
If all workers share a disk, ids are grouped in files on it and merged while they are written.

Duplicates may be dropped after decoding.
"""

import dataclasses
from typing import Any

import apache_beam as beam

from pipeline.batch.job import Job
from pipeline.model.coverage import expected_checksum
from pipeline.model.events import Batch
from pipeline.model.ids import partitions_for
from pipeline.model.table import Table
from pipeline.storage.files import is_local
from pipeline.transforms.count import HourlyTable, ScaleImpressions
from pipeline.transforms.decode import REJECTS, DecodeBlocks
from pipeline.transforms.deduplicate import DropDuplicates
from pipeline.transforms.format import FormatChart, FormatCsv, FormatRejects, check_rejects
from pipeline.transforms.ids import DistinctIds, FormatIds, WriteIds, check_ids
from pipeline.transforms.read import ListFiles, ReadBlocks
from pipeline.transforms.write import WriteFile, WritePiece


@dataclasses.dataclass
class HourlyReport(beam.PTransform):  # type: ignore[misc]
    """The whole graph: Pipeline -> PCollection[str], the path of the report, which appears last of all outputs.

    Attributes:
      job: settings of the batch.
      one_worker: do not distribute reading.

    Raises:
      RejectsError: there are rejects, but neither rejects_output nor skip_rejects.
      InputError: a source cannot be read.
    """

    job: Job
    one_worker: bool = False

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[str]:
        job, settings = self.job, self.job.report
        read = ReadBlocks(splittable=not self.one_worker, max_decoded_bytes=job.max_decoded_bytes)
        blocks = pipeline | "Files" >> ListFiles(job.files) | "Read" >> read
        want_ids = bool(job.ids_output) or settings.deduplicate
        decode = DecodeBlocks(want_ids, bool(job.rejects_output), settings.skip_rejects, job.max_skipped)
        decoded = blocks | "Decode" >> decode
        batches = decoded.batches
        if settings.deduplicate:
            batches = batches | "Drop duplicates" >> DropDuplicates((job.spill_path(job.output), job.token))
        refuse = not (job.rejects_output or settings.skip_rejects)
        expected = expected_checksum(file.path for file in job.files)
        tables = batches | "Count" >> HourlyTable(settings.utc_offset, settings.time_zone, refuse, expected)
        written = []
        if job.ids_output:
            written.append(self._write_ids(job.ids_output, batches, tables))
        if job.rejects_output:
            written.append(self._write_rejects(job.rejects_output, decoded))
        report = tables | "Scale" >> ScaleImpressions(settings.impressions_factor) | "CSV" >> FormatCsv()
        if job.chart_output:
            chart = report | "Chart" >> FormatChart(*job.chart_page)
            written.append(chart | "Write chart" >> WritePiece(job.chart_output, job.token, durable=job.durable))
        return report | "Write report" >> WritePiece(job.output, job.token, written, job.durable)

    def _write_ids(
        self, path: str, batches: beam.PCollection[Batch], tables: beam.PCollection[Table]
    ) -> beam.PCollection[str]:
        job, spill = self.job, self.job.spill_path(path)
        partitions = job.id_partitions or partitions_for(sum(file.size for file in job.files))
        if is_local(spill):
            return batches | "Write ids" >> WriteIds(path, job.token, tables, partitions, spill)
        ids = batches | "Unique ids" >> DistinctIds(partitions) | "Id lines" >> FormatIds()
        return ids | "Write ids" >> WriteFile(path, job.token, tables, check_ids, spill)

    def _write_rejects(self, path: str, decoded: Any) -> beam.PCollection[str]:
        spill = self.job.spill_path(path)
        rejects = decoded[REJECTS] | "Reject lines" >> FormatRejects()
        counts = decoded.batches | "Count rejects" >> beam.Map(_rejected).with_output_types(int)
        return rejects | "Write rejects" >> WriteFile(path, self.job.token, counts, check_rejects, spill)


def _rejected(batch: Batch) -> int:
    return batch.rejected
