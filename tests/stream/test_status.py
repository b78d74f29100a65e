"""How far a stream is: what it has read and written, and how old that is."""

from pathlib import Path

from pipeline.engine.run_state import run_state
from pipeline.stream.job import StreamJob
from pipeline.stream.status import Status, look
from tests import streams
from tests.streams import HOUR


def test_a_look_at_a_run(tmp_path: Path) -> None:
    steps = [
        streams.watermark(HOUR),
        streams.arrive(streams.block(HOUR, HOUR + 3600, HOUR + 3601, arrived=HOUR + 3600), found=HOUR + 7000),
        streams.arrive(streams.block(HOUR + 1, arrived=HOUR + 10_000)),
    ]
    streams.play(
        tmp_path, steps, ["--runner=BundleBasedDirectRunner"], late_at_once=True, allowed_lateness_seconds=3600
    )
    job = StreamJob(str(tmp_path / "output"))
    assert look(job, HOUR + 7003.5) == Status(4, 2, 0, 1, 3.5)


def test_of_folders_only_their_own_files() -> None:
    run_state.clear()
    run_state.written.update({"out/a.csv": 2, "out/a.txt": 9, "out2/b.csv": 9})
    assert run_state.written_in("out/", ".csv") == {"out/a.csv": 2}
    assert look(StreamJob("out"), 0) == Status(0, 1, 0, 0, None)
    run_state.clear()
