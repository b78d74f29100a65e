"""The options of a stream: what is refused before anything runs, and why."""

import dataclasses
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest
from apache_beam.options.pipeline_options import DebugOptions, StandardOptions
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from apache_beam.transforms.display import DisplayData
from google.protobuf.json_format import MessageToDict

from pipeline.cli.main import main
from pipeline.cli.options import parse_options
from pipeline.cli.stream_options import (
    KEEP_BUNDLES_WHOLE,
    describe,
    make_stream_job,
    protect_ports,
)
from pipeline.errors import PipelineError, UsageError
from pipeline.model.settings import ReportSettings
from pipeline.stream import StreamJob
from pipeline.stream.run import is_drainable, run_stream

SUBSCRIPTION = "projects/lab-project/subscriptions/events"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("--streaming", "needs either --input"),
        (f"--streaming --input a --subscription {SUBSCRIPTION}", "needs either --input"),
        ("--streaming --input -", "standard input"),
        ("--streaming --input a --output -", "standard input"),
        ("--streaming --subscription b", "must be projects/PROJECT/subscriptions/NAME"),
        ("--streaming --subscription projects/p/subscriptions/events", "must be projects/PROJECT/subscriptions/NAME"),
        ("--streaming --input a --early_firing_seconds 0", "--early_firing_seconds must be at least 1"),
        ("--streaming --input a --allowed_lateness_seconds -1", "--allowed_lateness_seconds must be at least 0"),
        ("--streaming --input a --max_future_seconds -1", "--max_future_seconds must be at least 0"),
        ("--input a --max_future_seconds 1", "--max_future_seconds needs --streaming"),
        ("--streaming --input a --id_attribute x", "need --subscription"),
        ("--streaming --input a --runner FnApiRunner", "would hang. Use --runner PrismRunner"),
        ("--streaming --input a --runner DirectRunner", "cannot watch files.*Use --runner PrismRunner"),
        (f"--streaming --subscription {SUBSCRIPTION}", "PrismRunner cannot read Pub/Sub. Use --runner DataflowRunner"),
        (f"--streaming --subscription {SUBSCRIPTION} --runner FnApiRunner", "Use --runner DataflowRunner"),
        (f"--streaming --subscription {SUBSCRIPTION} --runner DirectRunner --id_attribute x", "needs DataflowRunner"),
        ("--streaming --input a --output b --rejects_output b", "two outputs have the same name"),
        ("--streaming --input a --id_partitions 3", "must be a power of two"),
        ("--streaming --input a --time_zone UTC --utc_offset +00:00", "mutually exclusive"),
        ("--streaming --input a --overwrite --runner DataflowRunner", "from saved state"),
        ("--streaming --input a --overwrite --runner FlinkRunner --savepoint_path s", "from saved state"),
        (
            "--streaming --input a --environment_type EXTERNAL",
            "--environment_type EXTERNAL is not supported",
        ),
        ("--input a --overwrite", "--overwrite needs --streaming"),
        (
            "--streaming --input a --runner DataflowRunner --dataflow_service_options streaming_mode_at_least_once",
            "streaming_mode_at_least_once is not supported",
        ),
        (f"--input a --subscription {SUBSCRIPTION}", "--subscription needs --streaming"),
        ("--input a --early_firing_seconds 5", "--early_firing_seconds needs --streaming"),
    ],
)
def test_refused(arguments: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_options(arguments.split())


def test_trying_out_a_topic_needs_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.pubsub", None)
    with pytest.raises(UsageError, match=r"pip install 'apache-beam\[gcp\]'"):
        parse_options(["--streaming", "--subscription", SUBSCRIPTION, "--runner", "DirectRunner"])


@pytest.mark.parametrize("runner", ["DirectRunner", "BundleBasedDirectRunner"])
def test_a_topic_is_tried_out_without_starting_prism(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.pubsub", ModuleType("pubsub"))
    monkeypatch.setattr("pipeline.stream.topics.check_subscription", lambda name: None)
    options = parse_options(["--streaming", "--subscription", SUBSCRIPTION, "--runner", runner])
    assert options.view_as(StandardOptions).runner == "BundleBasedDirectRunner"


@pytest.mark.parametrize(
    ("engine", "whole"), [("", True), ("--runner PortableRunner", True), ("--runner DataflowRunner", False)]
)
def test_prism_is_not_to_split_bundles_with_state(engine: str, whole: bool) -> None:
    options = parse_options(f"--streaming --input a --experiments one {engine}".split()).view_as(DebugOptions)
    assert options.experiments == ["one", *([KEEP_BUNDLES_WHOLE] if whole else [])]


class JobServer(beam_job_api_pb2_grpc.JobServiceServicer):  # type: ignore[misc]
    """Knows two options of Flink's, and notes which a job has; runs none."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}

    def DescribePipelineOptions(self, request: Any, context: Any) -> Any:  # noqa: N802
        interval = beam_job_api_pb2.PipelineOptionDescriptor(
            name="checkpointing_interval", type=beam_job_api_pb2.PipelineOptionType.INTEGER
        )
        whole = beam_job_api_pb2.PipelineOptionDescriptor(
            name="finish_bundle_before_checkpointing",
            type=beam_job_api_pb2.PipelineOptionType.BOOLEAN,
            default_value="false",
        )
        return beam_job_api_pb2.DescribePipelineOptionsResponse(options=[interval, whole])

    def Prepare(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.options = {name[12:-3]: value for name, value in MessageToDict(request.pipeline_options).items()}
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "runs no jobs")


@pytest.fixture
def job_server() -> Iterator[tuple[JobServer, str]]:
    """With its address."""
    service, server = JobServer(), grpc.server(ThreadPoolExecutor(2))
    beam_job_api_pb2_grpc.add_JobServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service, f"127.0.0.1:{port}"
    server.stop(None)


@pytest.mark.parametrize(
    ("more", "whole"),
    [
        ("", None),
        ("--checkpointing_interval 1000", True),
        ("--checkpointing_interval=1000 --finish_bundle_before_checkpointing", True),
    ],
)
def test_bundles_end_before_a_checkpoint(
    more: str, whole: bool | None, job_server: tuple[JobServer, str], tmp_path: Path
) -> None:
    service, address = job_server
    engine = f"--runner=PortableRunner --job_endpoint={address} --environment_type=EXTERNAL --environment_config=x:1"
    options = parse_options(f"--streaming --input {tmp_path} --output {tmp_path}/out {engine} {more}".split())
    with pytest.raises(grpc.RpcError, match="runs no jobs"):
        run_stream(make_stream_job(options), options.for_engine())
    assert service.options.get("checkpointing_interval") == ("1000" if more else None)
    assert service.options.get("finish_bundle_before_checkpointing") in ((whole,) if whole else (None, False))


@pytest.mark.parametrize(
    ("more", "parts"), [("", 1), ("--runner DataflowRunner", 16), ("--runner DataflowRunner --id_partitions 64", 64)]
)
def test_files_of_ids_an_hour(more: str, parts: int, tmp_path: Path) -> None:
    options = parse_options(f"--streaming --input {tmp_path} --output {tmp_path}/out {more}".split())
    assert make_stream_job(options).id_shards == parts


def test_a_job_has_all_options(tmp_path: Path) -> None:
    options = parse_options(
        f"--streaming --runner DataflowRunner --subscription {SUBSCRIPTION} --output {tmp_path}/out --deduplicate "
        "--timestamp_attribute when --id_attribute number --allowed_lateness_seconds 0 --early_firing_seconds 7 "
        "--max_future_seconds 0".split()
    )
    job = dataclasses.replace(make_stream_job(options), token="")
    assert job == StreamJob(
        f"{tmp_path}/out",
        ReportSettings(deduplicate=True),
        subscription=SUBSCRIPTION,
        early_firing_seconds=7,
        allowed_lateness_seconds=0,
        max_future_seconds=0,
        timestamp_attribute="when",
        id_attribute="number",
        id_shards=16,
        token="",
    )


def test_a_job_makes_its_folders(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    outputs = [f"{tmp_path}/out/reports", f"{tmp_path}/out/rejects"]
    folders = ["--output", outputs[0], "--rejects_output", outputs[1]]
    options = parse_options(["--streaming", "--input", f"{tmp_path}/in/*.jsonl", *folders])
    assert make_stream_job(options).outputs == outputs
    assert all(Path(folder).is_dir() and not list(Path(folder).iterdir()) for folder in outputs)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("--input IN/* --output IN", ".* is both watched and written to"),
        ("--input IN/no/*.jsonl --output out", ".*no such folder: .*/no"),
        ("--input IN/* --output IN/file", ".*cannot be written"),
        ("--input gs://bucket --output out", "--input gs://bucket: no object or folder after the bucket's name"),
        ("--input s3://bucket/ --output out", "--input s3://bucket/: no object or folder after the bucket's name"),
        ("--input IN/* --output gs://bucket", "gs://bucket: no object or folder after the bucket's name"),
        ("--input IN/* --output nothere://x/y", "nothere://x/y: unknown storage"),
        ("--input IN/* --output out --ids_output s3://bucket/", "s3://bucket/: no object or folder after"),
        ("--input IN/* --output out --rejects_output nothere://x/z", "nothere://x/z: unknown storage"),
    ],
)
def test_folders_and_buckets_that_cannot_be_used(
    arguments: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    options = parse_options(["--streaming", *arguments.replace("IN", str(tmp_path)).split()])
    with pytest.raises(UsageError, match=f"^{reason}"):
        make_stream_job(options)


def test_a_bucket_that_is_watched_is_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cli.stream_options.check_object_path", lambda path: None)
    for pattern in ("gs://b/in", "gs://b/in/", "gs://b/in/*.jsonl"):
        options = parse_options(["--streaming", "--input", pattern, "--output", "gs://b/in/"])
        with pytest.raises(UsageError, match="gs://b/in/ is both watched and written to"):
            make_stream_job(options)


def test_without_prism_no_folder_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--streaming", f"--input={tmp_path}", f"--output={tmp_path}/out", f"--prism_location={tmp_path}/no"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: Prism, Beam's local runner, cannot be found: ")
    assert error.endswith("(set --prism_location)\n")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_stream_says_where_it_reads_and_writes() -> None:
    files = StreamJob("out", patterns=("*.jsonl", "in"), rejects_output="bad")
    assert describe(files) == (
        "watching *.jsonl, in; reports to out, rejects to bad; Ctrl-C drains it, a second one stops it immediately"
    )
    assert describe(StreamJob("out", subscription=SUBSCRIPTION, ids_output="ids")) == (
        f"reading {SUBSCRIPTION}; reports to out, ids to ids; Ctrl-C stops it"
    )
    for job in (files, StreamJob("out", subscription=SUBSCRIPTION)):
        assert describe(job, drainable=False).endswith("; stop it with the runner's own commands")


@pytest.mark.parametrize(
    ("more", "ends"),
    [
        ("--input IN", True),
        ("--input IN --runner PortableRunner --environment_type LOOPBACK", True),
        ("--input IN --runner PortableRunner --environment_type LOOPBACK --checkpointing_interval 1000", False),
        ("--input IN --runner PortableRunner --environment_type EXTERNAL", False),
        ("--input IN --runner DataflowRunner", False),
        (f"--subscription {SUBSCRIPTION} --runner DataflowRunner", False),
    ],
)
def test_which_streams_end_with_this_process(more: str, ends: bool, tmp_path: Path) -> None:
    options = parse_options(f"--streaming --output {tmp_path}/out {more.replace('IN', str(tmp_path))}".split())
    assert is_drainable(make_stream_job(options), options) is ends


@pytest.mark.parametrize(
    ("more", "ledger", "keeps_state", "warning"),
    [
        ("--input IN", True, False, "Operation not permitted"),
        ("--input IN --ids_output gs://b/ids", True, False, "a bucket needs the network"),
        ("--input gs://b/in", True, False, "a bucket needs the network"),
        ("--input IN --runner PortableRunner", False, False, None),
        ("--input IN --runner PortableRunner --savepoint_path file:///s", False, True, None),
        ("--input IN --runner DataflowRunner", False, True, None),
        (f"--subscription {SUBSCRIPTION} --runner DataflowRunner", False, True, None),
    ],
)
def test_which_streams_keep_a_ledger_and_whose_ports_are_protected(
    more: str,
    ledger: bool,
    keeps_state: bool,
    warning: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse() -> None:
        raise PipelineError("Operation not permitted")

    monkeypatch.setattr("pipeline.cli.stream_options.isolate_network", refuse)
    monkeypatch.setattr("pipeline.cli.stream_options.check_object_path", lambda path: None)
    monkeypatch.setattr("pipeline.cli.stream_options.check_folder", lambda path: None)
    options = parse_options(f"--streaming --output {tmp_path}/out {more.replace('IN', str(tmp_path))}".split())
    job = make_stream_job(options)
    assert (job.ledger, job.keeps_state) == (ledger, keeps_state)
    protect_ports(options, job)
    said = rf"warning: Prism listens on .* \({warning}\): close its ports by a firewall, .*\n" if warning else ""
    assert re.fullmatch(said, capsys.readouterr().err)


def test_an_engine_can_describe_its_options() -> None:
    given = (
        "--runner DataflowRunner --impressions_factor 2 --deduplicate --streaming --input gs://b/a --output gs://b/o"
    )
    options = parse_options(given.split()).for_engine()
    described = {item.key: item.get_dict()["value"] for item in DisplayData.create_from_options(options).items}
    assert described["runner"] == "DataflowRunner"
    assert described["output"] == "gs://b/o"
    assert described["impressions_factor"] == "2"


def test_an_engine_gets_no_names_that_are_not_utf_8() -> None:
    options = parse_options(["--streaming", "--input", "a\udce9/*", "--output", "reports"]).for_engine()
    assert (options.input, options.output) == (None, "reports")
