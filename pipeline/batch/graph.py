"""The settings of a batch, and its graph.

read blocks -> decode -> +-> count by hour and event -> sum -> pivot -> scale -> write CSV
                         +-> partition ids -> group -> unique -> write ids
                         +-> rejects -> write
                                                            The CSV -> in its page -> write chart
If all workers share a disk, ids are grouped in files on it and merged while they are written.

Duplicates may be dropped after decoding.
"""

import dataclasses
import posixpath
import uuid
from typing import Any

import apache_beam as beam

from pipeline.model.events import Batch
from pipeline.model.ids import partitions_for
from pipeline.model.settings import DEFAULT_REPORT, ReportSettings
from pipeline.model.table import Table
from pipeline.model.tally import expected_checksum
from pipeline.storage.files import InputFile, is_local
from pipeline.transforms.count import HourlyTable, ScaleImpressions
from pipeline.transforms.decode import REJECTS, DecodeBlocks
from pipeline.transforms.deduplicate import DropDuplicates
from pipeline.transforms.ids import DistinctIds, FormatIds, WriteIds, check_ids
from pipeline.transforms.read import ListFiles, ReadBlocks
from pipeline.transforms.write import FormatChart, FormatCsv, FormatRejects, WriteFile, WritePiece, check_rejects


@dataclasses.dataclass(frozen=True)
class Job:
    """Settings of a batch. Paths may be on any Beam file system.

    Attributes:
      files: the inputs.
      output: path of the report.
      report: settings of the report.
      ids_output, rejects_output, chart_output: paths; None: not written.
      id_partitions: partitions of the ids, a power of two; None: chosen by the input's size.
      chart_page: HTML of chart_output before and after the report's CSV.
      max_decoded_bytes: Parquet only: maximum bytes of an input after decoding; None: unlimited.
      max_skipped: fail at so many rejects although they are skipped; None: at no number.
      durable: sync the report to the disk before it appears (4 ms). Ids are never synced.
      token: identifies the temporary files of the run.
      spill_folder: folder for temporary files of outputs in buckets; None: beside the outputs.
    """

    files: tuple[InputFile, ...]
    output: str
    report: ReportSettings = DEFAULT_REPORT
    _: dataclasses.KW_ONLY
    ids_output: str | None = None
    rejects_output: str | None = None
    id_partitions: int | None = None
    chart_output: str | None = None
    chart_page: tuple[str, str] = ("", "")
    max_decoded_bytes: int | None = None
    max_skipped: int | None = None
    durable: bool = True
    token: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    spill_folder: str | None = None

    @property
    def outputs(self) -> list[str]:
        """Paths of the outputs."""
        paths = (self.output, self.ids_output, self.rejects_output, self.chart_output)
        return [path for path in paths if path is not None]

    def spill_path(self, path: str) -> str:
        """Returns the path beside which temporary files of an output are created."""
        if is_local(path) or not self.spill_folder:
            return path
        return f"{self.spill_folder}/{posixpath.basename(path)}"

    @property
    def spill_paths(self) -> list[str]:
        """Spill paths of all outputs that may have temporary files."""
        spilling = (self.ids_output, self.rejects_output, self.output if self.report.deduplicate else None)
        return [self.spill_path(path) for path in self.outputs if is_local(path) or path in spilling]


@dataclasses.dataclass
class HourlyReport(beam.PTransform):  # type: ignore[misc]
    """The whole graph: Pipeline -> PCollection[str], the path of the report, which appears last of all outputs.

    Attributes:
      job: settings of the batch.
      one_worker: do not distribute reading, which saves two stages.

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
        counts = decoded.batches | "Count rejects" >> beam.Map(lambda batch: batch.rejected).with_output_types(int)
        return rejects | "Write rejects" >> WriteFile(path, self.job.token, counts, check_rejects, spill)
