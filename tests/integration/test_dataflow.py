"""Dataflow without a cloud: what would be sent to it, and the staged job run from the staged package."""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from apache_beam.portability.api import beam_runner_api_pb2 as api

from tests.documents import random_events as events
from tests.integration.buckets import BUCKET, Storage, cloud_storage
from tests.oracle import ids_of, report_of
from tests.support import ROOT, json_lines, run

LINES = json_lines(events(5000))
ROOT_URL = f"gs://{BUCKET}"
BASE = ("--runner=DataflowRunner", "--region=europe-west1", f"--temp_location={ROOT_URL}/temp")
BATCH = (f"--input={ROOT_URL}/in/*", f"--output={ROOT_URL}/out/r.csv", f"--ids_output={ROOT_URL}/out/ids.txt")
STREAM = (
    "--streaming",
    "--subscription=projects/lab-project/subscriptions/events",
    "--timestamp_attribute=at",
    "--id_attribute=key",
    f"--output={ROOT_URL}/hours",
    f"--ids_output={ROOT_URL}/hours-ids",
    f"--rejects_output={ROOT_URL}/rejects",
    "--allowed_lateness_seconds=3600",
    "--deduplicate",
)
IMAGE = f"gcr.io/cloud-dataflow/v1beta3/beam_python{sys.version_info[0]}.{sys.version_info[1]}_sdk:"


class Staged(NamedTuple):
    """What a template consists of."""

    job: dict[str, Any]
    pipeline: api.Pipeline
    package: bytes

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.job["environment"]["sdkPipelineOptions"]["options"])

    @property
    def transforms(self) -> dict[str, api.PTransform]:
        """By their full names."""
        return {t.unique_name: t for t in self.pipeline.components.transforms.values()}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with cloud_storage(tmp_path_factory.mktemp("dataflow")) as server:
        server.put("in/a.jsonl", LINES)
        yield server


def stage(storage: Storage, name: str, *arguments: str) -> Staged:
    """Writes a template to the server, by the command line."""
    target = f"--template_location={ROOT_URL}/{name}/template"
    temp = f"--temp_location={ROOT_URL}/{name}/temp"
    done = run(*BASE, temp, target, *arguments, *storage.options, **storage.environment)
    assert done.status == 0, done.err
    assert done.err.endswith(f"template in {ROOT_URL}/{name}/template\n")
    assert all(line.startswith(("WARNING: ", "template in ")) for line in done.err.splitlines()), done.err
    assert done.out == ""
    files = {found.rsplit("/", 1)[-1]: storage.get(found) for found in storage.names(f"{name}/")}
    assert set(files) == {"template", "pipeline.pb", "workflow.tar.gz", "submission_environment_dependencies.txt"}
    pipeline = api.Pipeline.FromString(files["pipeline.pb"])
    return Staged(json.loads(files["template"]), pipeline, files["workflow.tar.gz"])


@pytest.fixture(scope="module")
def batch(storage: Storage) -> Staged:
    return stage(storage, "batch", *BATCH, "--dataflow_service_options=enable_prime", "--labels=team=ads")


@pytest.fixture(scope="module")
def stream(storage: Storage) -> Staged:
    return stage(storage, "stream", *STREAM)


def test_the_batch_job(batch: Staged) -> None:
    assert batch.job["type"] == "JOB_TYPE_BATCH"
    assert batch.job["name"].startswith("hourly-report-2")
    assert batch.job["labels"] == {"pipeline": "report", "team": "ads"}
    assert batch.job["environment"]["serviceOptions"] == ["enable_prime"]
    assert batch.options["save_main_session"] is False
    assert batch.options["input"] == [f"{ROOT_URL}/in/*"]
    (pool,) = batch.job["environment"]["workerPools"]
    assert "machineType" not in pool
    assert pool["workerHarnessContainerImage"].startswith(IMAGE)
    assert "workflow.tar.gz" in {package["name"] for package in pool["packages"]}


def test_the_stream_job(stream: Staged) -> None:
    assert stream.job["type"] == "JOB_TYPE_STREAMING"
    assert re.fullmatch(r"hourly-stream-[0-9a-f]{10}", stream.job["name"])
    assert stream.options["enable_streaming_engine"] is True


def test_the_batch_graph(batch: Staged) -> None:
    names = batch.transforms
    for step in ("Read/Read blocks", "Decode/Decode", "Count/Count/Sum", "Unique ids/Group partitions", "Write report"):
        assert any(name.endswith(f"Hourly report/{step}") for name in names), step
    windows = batch.pipeline.components.windowing_strategies.values()
    assert {w.window_fn.urn for w in windows} == {"beam:window_fn:global_windows:v1"}


def test_the_stream_graph(stream: Staged) -> None:
    reads = [t for t in stream.transforms.values() if t.spec.urn == "beam:transform:pubsub_read:v1"]
    (payload,) = [api.PubSubReadPayload.FromString(t.spec.payload) for t in reads]
    assert payload.subscription == "projects/lab-project/subscriptions/events"
    assert (payload.timestamp_attribute, payload.id_attribute) == ("at", "key")
    strategies = list(stream.pipeline.components.windowing_strategies.values())
    hours = [w for w in strategies if w.window_fn.urn == "beam:window_fn:fixed_windows:v1"]
    assert hours
    assert all(w.trigger.HasField("after_end_of_window") for w in hours)


def test_the_package_holds_what_workers_need_and_nothing_else(batch: Staged) -> None:
    with tarfile.open(fileobj=io.BytesIO(batch.package)) as package:
        names = {name.split("/", 1)[1] for name in package.getnames() if "/" in name}
    files = [path for path in (ROOT / "pipeline").rglob("*") if path.is_file()]
    files = [path for path in files if not {"__pycache__", "page"}.intersection(path.parts)]
    modules = {str(path.relative_to(ROOT)) for path in files}
    folders = {str(path.parent.relative_to(ROOT)) for path in files}
    metadata = {name for name in names if "egg-info" in name}
    more = {"MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg", "setup.py"}
    assert names - metadata == {*modules, *folders, *more}


RUN = """
import sys
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.io.filesystems import FileSystems
from apache_beam.portability.api import beam_runner_api_pb2 as api
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

graph = api.Pipeline.FromString(open(sys.argv[1], "rb").read())
for environment in graph.components.environments.values():
    environment.urn, environment.payload = "beam:env:embedded_python:v1", b""
options = PipelineOptions(["--project=lab-project"])
FileSystems.set_options(options)
FnApiRunner().run_via_runner_api(graph, options).wait_until_finish()
"""


def run_outside(folder: Path, storage: Storage, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a command in a folder from which this project cannot be imported."""
    environment = {**os.environ, **storage.environment}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)


def clean_environment(folder: Path) -> Path:
    """A new environment that has this one's packages, as a worker's image has Beam; its interpreter."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "image.pth").write_text(str(Path(pytest.__file__).parent.parent) + "\n")
    return python


def install(python: Path, package: Path) -> None:
    """Installs a package, what it needs being there already."""
    for arguments in (["setuptools==80.9.0"], ["--no-deps", "--no-build-isolation", str(package)]):
        subprocess.run([python, "-m", "pip", "install", "--quiet", *arguments], check=True)


def test_the_staged_job_needs_the_staged_package_and_no_more(batch: Staged, storage: Storage, tmp_path: Path) -> None:
    python = clean_environment(tmp_path / "worker")
    (tmp_path / "pipeline.pb").write_bytes(batch.pipeline.SerializeToString())
    staged = (python, "-c", RUN, "pipeline.pb")
    without = run_outside(tmp_path, storage, *staged)
    assert without.returncode != 0
    assert "No module named 'pipeline'" in without.stderr
    assert "out/r.csv" not in storage.names()
    (tmp_path / "workflow.tar.gz").write_bytes(batch.package)
    install(python, tmp_path / "workflow.tar.gz")
    done = run_outside(tmp_path, storage, *staged)
    assert done.returncode == 0, done.stderr
    assert storage.get("out/r.csv").decode() == report_of(LINES)
    assert set(storage.get("out/ids.txt").decode().split()) == ids_of(LINES)


def test_an_installed_package_makes_its_own_sdist(storage: Storage, tmp_path: Path) -> None:
    python = clean_environment(tmp_path / "installed")
    install(python, ROOT)
    target = f"--template_location={ROOT_URL}/installed/template"
    arguments = [*BASE, f"--temp_location={ROOT_URL}/installed/temp", target, *BATCH, *storage.options]
    done = run_outside(tmp_path, storage, python, "-m", "pipeline", *arguments)
    assert done.returncode == 0, done.stderr
    (name,) = [name for name in storage.names("installed/") if name.endswith("workflow.tar.gz")]
    with tarfile.open(fileobj=io.BytesIO(storage.get(name))) as package:
        names = {name.split("/", 1)[-1] for name in package.getnames()}
    assert {f"pipeline/{path.name}" for path in (ROOT / "pipeline").glob("*.py")} <= names


@pytest.mark.parametrize(("arguments", "name"), [(BATCH, "hourly-report-2"), (STREAM, "hourly-stream-")])
def test_a_dry_run_starts_nothing(arguments: tuple[str, ...], name: str, storage: Storage) -> None:
    before = storage.names()
    done = run(*BASE, *arguments, "--dry_run=True", *storage.options, **storage.environment)
    assert done.status == 0, done.err
    assert done.err.splitlines()[-1].startswith(f"dry run of {name}")
    assert storage.names() == before


def test_a_dry_run_of_messages_needs_no_network() -> None:
    nowhere = {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:1", "HTTPS_PROXY": "http://127.0.0.1:1"}
    done = run(*BASE, *STREAM, "--project=lab-project", "--dry_run", "True", **nowhere)
    assert done.status == 0, done.err
    assert done.err.splitlines()[-1].startswith("dry run of hourly-stream-")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--input=tests/a.jsonl", f"--output={ROOT_URL}/r.csv"), "tests/a.jsonl is local"),
        ((f"--input={ROOT_URL}/in/*", "--output=r.csv"), "r.csv is local"),
        ((f"--input={ROOT_URL}/in/*", f"--output={ROOT_URL}/r.csv", "--temp_location="), "--temp_location is missing"),
        ((*BATCH, "--temp_location=tmp"), "--temp_location tmp is local"),
        ((*BATCH, "--staging_location=/tmp"), "--staging_location /tmp is local"),
    ],
)
def test_what_no_worker_can_do_is_wrong_usage(
    arguments: tuple[str, ...], error: str, storage: Storage, tmp_path: Path
) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "a.jsonl").write_bytes(LINES)
    done = run(*BASE, *arguments, *storage.options, cwd=tmp_path, **storage.environment)
    assert (done.status, done.err.count("\n")) == (2, 1), done.err
    assert done.err.startswith(f"error: {error}")
