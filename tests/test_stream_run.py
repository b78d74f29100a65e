"""What a run of a stream checks at its end."""

import pytest

from pipeline import hour_files, stream_run
from pipeline.errors import MismatchError
from pipeline.stream_job import StreamJob


@pytest.mark.parametrize("folder", ["out", "out/", "gs://bucket/out"])
def test_reports_that_lack_events_are_an_error(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder.rstrip("/")
    written = {f"{place}/a.csv": 2, f"{place}/b.csv": 3, "ids/a.txt": 9}
    monkeypatch.setattr(hour_files, "written_here", written)
    stream_run._check_files(StreamJob(folder), 5)
    with pytest.raises(MismatchError, match="counted 6 events but the reports hold 5"):
        stream_run._check_files(StreamJob(folder), 6)
