"""A run of a stream: what it finds in its folders, what it checks at its end, and how it is interrupted."""

import contextlib
import dataclasses
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.batch import run as report
from pipeline.batch.graph import Job
from pipeline.engine.run_state import run_state
from pipeline.errors import MismatchError, PipelineError, UsageError
from pipeline.model.tally import Summary
from pipeline.stream import StreamJob
from pipeline.stream import run as stream_run
from pipeline.stream.database import NAME
from pipeline.stream.run import prepare_outputs, write_final_marks

DIRECT = PipelineOptions(["--runner=DirectRunner"])


def summary(counted: int) -> Summary:
    return Summary(counted, counted, 0, 0)


@pytest.mark.parametrize("folder", ["out", "out/", "gs://bucket/out"])
def test_reports_that_lack_events_are_an_error(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder.rstrip("/")
    written = {f"{place}/a.csv": 2, f"{place}/b.csv": 3, "ids/a.txt": 9}
    monkeypatch.setattr(run_state, "written", written)
    stream_run._verify(StreamJob(folder), DIRECT, summary(5), None)
    with pytest.raises(MismatchError, match=r"counted 6 events, but the files in .* have 5; please report this bug"):
        stream_run._verify(StreamJob(folder), DIRECT, summary(6), None)


class DataflowResult:
    """As Beam's of a job of Dataflow, while the user presses Ctrl-C."""

    has_job = True

    def __init__(self, ended: bool = False) -> None:
        self.ended, self.cancelled = ended, False

    def job_id(self) -> str:
        return "2026-11-24_01"

    def is_in_terminal_state(self) -> bool:
        return self.ended

    def wait_until_finish(self) -> None:
        raise KeyboardInterrupt

    def cancel(self) -> None:
        self.cancelled = True

    def run(self) -> "DataflowResult":
        return self


class FlinkResult(DataflowResult):
    """As Beam's of a job server, which says at once that a job is cancelled."""

    has_job, _job_id, state = False, "job", "CANCELLED"


def test_a_stream_on_a_job_server_may_go_on_when_its_launcher_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = FlinkResult()
    monkeypatch.setattr(stream_run, "build_stream", lambda job, options: result)
    options = PipelineOptions(["--runner=PortableRunner", "--job_endpoint=x:1", "--environment_type=EXTERNAL"])
    with pytest.raises(PipelineError, match=r"the job may still be running.*`flink list`"):
        stream_run.run_stream(StreamJob(str(tmp_path), patterns=("in",)), options)
    assert result.cancelled


INTERRUPTED = "the job is still running. To stop it: gcloud dataflow jobs {} 2026-11-24_01"


def test_a_stream_on_dataflow_goes_on_when_its_launcher_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = DataflowResult()
    monkeypatch.setattr(stream_run, "build_stream", lambda job, options: result)
    with pytest.raises(PipelineError, match=INTERRUPTED.format("drain")):
        stream_run.run_stream(StreamJob(str(tmp_path), patterns=("in",)), PipelineOptions(["--runner=DataflowRunner"]))
    assert not result.cancelled


@pytest.mark.parametrize("ended", [False, True])
def test_a_job_on_dataflow_keeps_its_temporary_objects_when_its_launcher_is_interrupted(
    ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = list[str]()
    monkeypatch.setattr(report, "remove_objects", lambda path, token: removed.append(path))
    monkeypatch.setattr(report, "_build", lambda *_: DataflowResult(ended))
    job = Job((), "gs://bucket/report.csv", ids_output="gs://bucket/ids.txt")
    options = PipelineOptions(["--runner=DataflowRunner", "--temp_location=gs://bucket/temporary"])
    error, message = (KeyboardInterrupt, None) if ended else (PipelineError, INTERRUPTED.format("cancel"))
    with pytest.raises(error, match=message):
        report.run_job(job, options)
    assert removed == (["gs://bucket/temporary/ids.txt"] if ended else [])


@pytest.mark.parametrize(("environment", "fails"), [("EXTERNAL", False), ("LOOPBACK", True)])
def test_what_other_processes_wrote_is_not_missed_here(
    environment: str, fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_run, "_run", lambda *_: (True, summary(6)))
    options = PipelineOptions(["--runner=PortableRunner", f"--environment_type={environment}"])
    with pytest.raises(MismatchError) if fails else contextlib.nullcontext():
        stream_run.run_stream(StreamJob(str(tmp_path), patterns=("in",)), options)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--environment_type=EXTERNAL"],
        ["--environment_type=LOOPBACK", "--checkpointing_interval=1000"],  # ended by `flink stop`
        ["--environment_type=LOOPBACK", "--savepoint_path=file:///s"],
    ],
)
def test_partial_counters_raise_no_alarm(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Counters of remote workers lack failed attempts; those of a run lack events that a savepoint holds."""
    monkeypatch.setattr(stream_run, "_run", lambda *_: (True, Summary(6, 5, 0, 0)))
    options = PipelineOptions(["--runner=PortableRunner", *arguments])
    stream_run.run_stream(StreamJob(str(tmp_path), patterns=("in",)), options)
    assert not [record for record in caplog.records if "Unparseable" not in record.message]


def test_two_streams_do_not_write_to_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Second(DataflowResult):
        def run(self) -> DataflowResult:
            with pytest.raises(UsageError, match="locked by another running stream"):
                stream_run.run_stream(StreamJob(f"{tmp_path}/other", ids_output=str(tmp_path)), PipelineOptions([]))
            return self

    first = Second()
    monkeypatch.setattr(stream_run, "build_stream", lambda job, options: first)
    for _ in range(2):  # the folder is given back
        with pytest.raises(PipelineError, match="interrupted"):
            stream_run.run_stream(
                StreamJob(str(tmp_path), patterns=("in",)), PipelineOptions(["--runner=DataflowRunner"])
            )


EARLIER = ["2021-04-02T20+0100.csv", "2021-04-02T20+0100.final", NAME, f"{NAME}-wal"]


OTHERS = ["report.csv", "notes.txt", "2021-04-02.csv"]


def fill(job: StreamJob) -> None:
    """Puts files of an earlier run, and some that are none, into the job's folders."""
    names = {job.output: [*EARLIER, *OTHERS], job.ids_output: ["2021-04-02T20+0100-03-of-16.txt", "ids.txt"]}
    for folder, files in (names | {job.rejects_output: ["0" * 32 + ".jsonl", "mine.jsonl"]}).items():
        Path(folder or "").mkdir()
        for name in files:
            Path(folder or "", name).write_text("old")


@pytest.fixture
def job(tmp_path: Path) -> StreamJob:
    folders = {"ids_output": str(tmp_path / "ids"), "rejects_output": str(tmp_path / "bad")}
    return StreamJob(str(tmp_path / "out"), ledger=True, keeps_state=False, **folders)


def test_overwriting_removes_what_earlier_runs_have_written_and_nothing_else(job: StreamJob, tmp_path: Path) -> None:
    fill(job)
    prepare_outputs(dataclasses.replace(job, overwrite=True))
    left = sorted(path.name for path in tmp_path.glob("*/*"))
    assert left == sorted([*OTHERS, "ids.txt", "mine.jsonl"])


def test_reports_are_protected_unless_their_ledger_is_there(job: StreamJob, tmp_path: Path) -> None:
    fill(job)
    before = sorted(tmp_path.glob("*/*"))
    prepare_outputs(job)
    prepare_outputs(dataclasses.replace(job, ledger=False, keeps_state=True))
    with pytest.raises(UsageError, match=r"contains reports .* but no ledger or saved state"):
        prepare_outputs(dataclasses.replace(job, ledger=False))
    (tmp_path / "out" / f"{NAME}-wal").unlink(missing_ok=True)
    (tmp_path / "out" / NAME).write_bytes(b"")  # of a killed run: all tables are in its write-ahead log
    with pytest.raises(UsageError, match=r"out contains reports \(2021-04-02T20\+0100.csv\) but no ledger"):
        prepare_outputs(job)
    (tmp_path / "out" / NAME).unlink()
    with pytest.raises(UsageError, match=r"out contains reports \(2021-04-02T20\+0100.csv\) but no ledger"):
        prepare_outputs(job)
    assert sorted(tmp_path.glob("*/*")) == [path for path in before if path.name not in (NAME, f"{NAME}-wal")]


def test_a_folder_that_is_new_or_holds_other_files_needs_no_ledger(job: StreamJob, tmp_path: Path) -> None:
    prepare_outputs(job)
    (tmp_path / "out").mkdir()
    for name in OTHERS:
        (tmp_path / "out" / name).touch()
    prepare_outputs(job)


def test_marks_that_are_missing_are_made(job: StreamJob, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "2021-04-02T20+0100.final").touch(mode=0o600)
    write_final_marks(job, [1617390000, 1617393600])
    names = ["2021-04-02T20+0100.final", "2021-04-02T21+0100.final"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert (tmp_path / "out" / names[0]).stat().st_mode & 0o777 == 0o600  # it stays
