"""Settings of a batch: inputs, outputs and report."""

import dataclasses
import posixpath
import uuid

from pipeline.model.settings import DEFAULT_REPORT, ReportSettings
from pipeline.storage.files import InputFile, is_local


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
