"""What a run of a stream checks at its end."""

import contextlib
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.batch import run as report
from pipeline.batch.graph import Job
from pipeline.engine.run_state import run_state
from pipeline.errors import MismatchError, PipelineError, UsageError
from pipeline.model.tally import Summary
from pipeline.storage.files import InputFile
from pipeline.stream import StreamJob
from pipeline.stream import run as stream_run
from pipeline.stream.ledger import open_ledger

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


def test_ids_that_lack_events_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_state, "written", {"out/a.csv": 5, "ids/a-0-of-2.txt": 2, "ids/a-1-of-2.txt": 3})
    stream_run._verify(StreamJob("out", ids_output="ids/"), DIRECT, summary(5), None)
    run_state.written["ids/a-1-of-2.txt"] = 4
    with pytest.raises(MismatchError, match="counted 5 events, but the files in ids/ have 6"):
        stream_run._verify(StreamJob("out", ids_output="ids/"), DIRECT, summary(5), None)


def test_files_that_were_not_read_to_their_end_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_state, "written", {f"{tmp_path}/a.csv": 5})
    job = StreamJob(str(tmp_path), ledger=True)
    with open_ledger(job.output, job.settings) as ledger:
        stream_run._verify(job, DIRECT, summary(5), ledger)
        ledger.start_file(InputFile("a.jsonl", 1, "a.jsonl"), b"a", 0)
        with pytest.raises(MismatchError, match=r"a.jsonl: blocks do not cover the file exactly once"):
            stream_run._verify(job, DIRECT, summary(5), ledger)
        ledger.open["a.jsonl"].broken = True  # a part that cannot be decoded proves nothing
        stream_run._verify(job, DIRECT, summary(5), ledger)


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
