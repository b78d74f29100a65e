"""What to report of files, and where to write it."""

import dataclasses
import uuid

from pipeline.model.table import DEFAULT_FACTOR
from pipeline.storage.files import InputFile


@dataclasses.dataclass(frozen=True)
class Job:
    """What to report and where to write it. Paths on any Beam file system; no ids, rejects or chart file where None.

    utc_offset, time_zone: at most one, as HourClock.parse takes it. deduplicate: events equal in id, event and
    timestamp count once. id_partitions: how many ids are shuffled in, a power of two; None: by the input's size.
    skip_rejects: leave them out, where no file takes them. chart_page: what chart_output holds before and after the
    report's CSV. durable: the report is on the disk before it appears, 4 ms; not so ids, which may be many. token:
    names the run's temporary files.
    """

    files: tuple[InputFile, ...]
    output: str
    _: dataclasses.KW_ONLY
    ids_output: str | None = None
    rejects_output: str | None = None
    utc_offset: str | None = None
    time_zone: str | None = None
    impressions_factor: str = DEFAULT_FACTOR
    deduplicate: bool = False
    id_partitions: int | None = None
    skip_rejects: bool = False
    chart_output: str | None = None
    chart_page: tuple[str, str] = ("", "")
    durable: bool = True
    token: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def outputs(self) -> list[str]:
        """The files that the job writes."""
        paths = (self.output, self.ids_output, self.rejects_output, self.chart_output)
        return [path for path in paths if path is not None]
