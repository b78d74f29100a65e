"""What to report of files, and where to write it."""

import dataclasses
import posixpath
import uuid

from pipeline.model.settings import DEFAULT_REPORT, ReportSettings
from pipeline.storage.files import InputFile, is_local


@dataclasses.dataclass(frozen=True)
class Job:
    """What to report and where to write it. Paths are of any Beam file system.

    Attributes:
      files: the inputs.
      output: path of the report.
      report: what the report counts, and how it shows it.
      ids_output, rejects_output, chart_output: paths; None: not written.
      id_partitions: partitions that ids are shuffled in, a power of two; None: chosen by the input's size.
      chart_page: what chart_output holds before and after the report's CSV.
      max_decoded_bytes: of each input, where its format stands for more than it holds (Parquet); None: any number.
      durable: sync the report to the disk before it appears (4 ms). Ids, which may be many, are never synced.
      token: names the temporary files of the run.
      spill_folder: where the temporary files of outputs in buckets are; None: beside the outputs.
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
    durable: bool = True
    token: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    spill_folder: str | None = None

    @property
    def outputs(self) -> list[str]:
        """The files that the job writes."""
        paths = (self.output, self.ids_output, self.rejects_output, self.chart_output)
        return [path for path in paths if path is not None]

    def spill_path(self, path: str) -> str:
        """The path beside which an output's temporary files are made."""
        if is_local(path) or not self.spill_folder:
            return path
        return f"{self.spill_folder}/{posixpath.basename(path)}"

    @property
    def spill_paths(self) -> list[str]:
        """Those of all outputs that may have temporary files."""
        spilling = (self.ids_output, self.rejects_output, self.output if self.report.deduplicate else None)
        return [self.spill_path(path) for path in self.outputs if is_local(path) or path in spilling]
