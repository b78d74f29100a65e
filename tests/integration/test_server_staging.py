"""The server with workers that do not share its disk: bodies and reports pass through a folder in a bucket."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from pipeline.batch.graph import Job
from pipeline.batch.run import build_job
from pipeline.engine.dataflow import launch
from pipeline.engine.runners import beam_options
from pipeline.model.tally import Summary
from pipeline.serving import staging
from pipeline.storage.files import InputFile
from tests.integration.buckets import BUCKET, Storage, cloud_storage
from tests.integration.servers import prism, worker_pool
from tests.serving_support import EVENT, REPORT, SAMPLE, Server, running
from tests.support import HEADER, ROOT

STAGING = f"gs://{BUCKET}/server[1]"  # which is no pattern
DATAFLOW = ("--runner=DataflowRunner", "--region=europe-west1", f"--temp_location=gs://{BUCKET}/temp")


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with cloud_storage(tmp_path_factory.mktemp("storage")) as server:
        yield server


@pytest.fixture(scope="module", params=["LOOPBACK", "EXTERNAL"])
def server(
    request: pytest.FixtureRequest, storage: Storage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("staging")
    with prism(folder) as address, worker_pool(folder, **storage.environment) as pool:
        runner = ["--runner=PortableRunner", f"--job_endpoint={address}", f"--environment_type={request.param}"]
        runner += [f"--environment_config={pool}"] if request.param == "EXTERNAL" else []
        arguments = ("--processes=1", f"--staging_location={STAGING}", *runner, *storage.options)
        with running(folder / "tmp", *arguments, **storage.environment) as server:
            yield server


def test_the_answer_is_the_local_one_and_nothing_is_left(server: Server, storage: Storage) -> None:
    for _ in range(2):
        answer = server.post(SAMPLE)
        assert (answer.status, answer.body.decode()) == (200, REPORT), server.log
        assert json.loads(answer.headers["X-Report-Summary"]) == {"read": 6, "counted": 6, "rejected": 0, "hours": 3}
        assert storage.names() == []


def test_a_large_body_and_an_empty_one(server: Server, storage: Storage) -> None:
    answer = server.post((EVENT + "\n").encode() * 20_000)
    assert answer.body.decode() == HEADER + "2021-04-02T20:00:00+01:00,0,0,20000,0,0,0,0.0\n", server.log
    assert server.post(b"").body.decode() == HEADER
    assert storage.names() == []


@pytest.mark.parametrize(
    ("body", "detail"),
    [(b"x\n" + EVENT.encode(), "1 of 2 records"), (b"[1", "body: byte 2: JSON array is truncated")],
    ids=["reject", "broken"],
)
def test_a_bad_body_leaves_nothing(server: Server, storage: Storage, body: bytes, detail: str) -> None:
    problem = server.post(body).problem
    assert problem["status"] == 400, server.log
    assert detail in problem["detail"]
    assert storage.names() == []


def dataflow_job(storage: Storage, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """The job that the server hands to Dataflow, as a template in the bucket: nothing is started."""
    for name, value in storage.environment.items():
        monkeypatch.setenv(name, value)
    (folder / "body").write_bytes(SAMPLE)
    jobs = []

    def run_job(job: Job, options: object) -> Summary:
        assert storage.get(job.files[0].path.removeprefix(f"gs://{BUCKET}/")) == SAMPLE
        storage.put(job.output.removeprefix(f"gs://{BUCKET}/"), REPORT.encode())
        launch(build_job(job, options), options)  # type: ignore[arg-type]
        jobs.append(job)
        return Summary(6, 6, 0, 3)

    template = f"--template_location=gs://{BUCKET}/template/job"
    arguments = (*DATAFLOW, template, *storage.options)
    body = InputFile(str(folder / "body"), -1, "body")
    with mock.patch.object(staging, "run_job", run_job):
        staging.StagedJob(STAGING, beam_options(arguments)).run(Job((body,), str(folder / "report.csv")))
    return jobs[0]


def test_a_job_for_dataflow_reads_and_writes_the_bucket(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = dataflow_job(storage, tmp_path, monkeypatch)
    assert job.files[0].path.startswith(f"{STAGING}/")
    assert job.output.startswith(f"{STAGING}/")
    (name,) = [name for name in storage.names("temp/") if name.endswith("pipeline.pb")]
    template = json.loads(storage.get("template/job"))
    assert template["name"].endswith(job.token[:8])
    assert str(tmp_path).encode() not in storage.get(name)
    assert (tmp_path / "report.csv").read_text() == REPORT
    assert storage.names("server") == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (DATAFLOW, "--staging_location is missing: Dataflow's workers cannot access"),
        ((*DATAFLOW[:1], f"--staging_location={STAGING}"), "--region is missing"),
        (("--staging_location=gs://missing/folder",), "gs://missing/folder/probe: cannot be written"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(storage: Storage, arguments: tuple[str, ...], error: str) -> None:
    command = [sys.executable, "server.py", "--port=0", "--processes=1", *arguments, *storage.options]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60,
        env={"PATH": "/usr/bin:/bin", **storage.environment},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: {error}"), done.stderr
    assert done.stderr.count("\n") == 1
