"""Beam imported without what is not used: the same reports, what is left out, and that it can be had after all."""

import gzip
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
import zstandard
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.batch.graph import HourlyReport
from pipeline.batch.job import Job
from pipeline.engine.imports import ABSENT, SWITCH, applies, lean
from pipeline.storage.matching import find_files
from tests.support import EXAMPLE_EVENTS, EXAMPLE_REPORT, ROOT, json_lines, run, with_report

LEFT_OUT = ("pyarrow", "pymongo", "bson", "apache_beam.io.gcp.bigquery", "requests")
POSTPONED = (
    *("beartype", "httplib2", "yaml", "cryptography"),
    *("grpc", "asyncio", "urllib.request", "http.client", "ssl", "fastavro", "proto", "dateutil"),
)
FILES = {
    "a.jsonl": json_lines(EXAMPLE_EVENTS),
    "a.jsonl.gz": gzip.compress(json_lines(EXAMPLE_EVENTS)),
    "a.jsonl.zst": zstandard.compress(json_lines(EXAMPLE_EVENTS)),
    "df.parquet.gzip": (ROOT / "tests" / "files" / "df.parquet.gzip").read_bytes(),
}


@pytest.mark.parametrize("name", FILES)
def test_reports_are_the_same_with_and_without(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    outputs = ["--ids_output", "ids", "--rejects_output", "rejects", "--deduplicate"]
    results = []
    for switch in ("", "1"):
        done = run("--input", name, "--output", "-", *outputs, cwd=tmp_path, **{SWITCH: switch})
        assert (done.returncode, done.stdout.decode()) == (0, EXAMPLE_REPORT), done.stderr
        assert done.stderr.count(b"\n") == 1
        results.append([(tmp_path / output).read_bytes() for output in ("ids", "rejects")])
    assert results[0] == results[1]


def python(code: str, **environment: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        text=True,
        env={"PYTHONPATH": str(ROOT), **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


RUN = f"""
import json, sys
sys.argv = ["", "--input", {str(ROOT / "examples" / "events.json")!r}, "--output", "-"]
from pipeline.__main__ import main
assert main() == 0
print(json.dumps([name for name in {LEFT_OUT + POSTPONED!r} if name in sys.modules]))
"""


@pytest.mark.parametrize(("switch", "loaded"), [("", []), ("1", [*LEFT_OUT, *POSTPONED])])
def test_what_a_run_loads(switch: str, loaded: list[str]) -> None:
    assert json.loads(python(RUN, **{SWITCH: switch}).splitlines()[-1]) == loaded


def test_stand_ins_do_the_real_thing_when_they_are_asked() -> None:
    code = """
from pipeline.engine.imports import lean
with lean([]):
    import apache_beam
import collections.abc, sys
from apache_beam.transforms import external, util
from apache_beam.internal import http_client
from apache_beam.typehints import typehints
from apache_beam.coders import coder_impl, coders
from apache_beam.utils import subprocess_server, timestamp
assert not sys.modules.keys() & {"beartype", "grpc", "fastavro", "proto", "dateutil", "urllib.request"}
assert timestamp.Timestamp.from_rfc3339("1970-01-01T00:00:01Z") == 1
assert subprocess_server.urlopen(subprocess_server.Request("data:,text")).read() == b"text"
assert coder_impl.parse_schema("int") == "int"
assert subprocess_server.grpc.StatusCode.OK.value == (0, "ok")
try:
    coders.ProtoPlusCoder.from_type_hint(dict, None)
    raise SystemExit("dict is no message")
except ValueError:
    pass
assert typehints.is_consistent_with(collections.abc.Sequence, collections.abc.Collection)
assert not typehints.is_consistent_with(str, collections.abc.Sequence[int])
assert not typehints.is_consistent_with("no type", dict)
assert external.yaml.dump({"a": 1}) == "a: 1\\n"
assert http_client.get_new_http().timeout == 60
assert type(util.Fernet(b"0" * 43 + b"=")).__module__ == "cryptography.fernet"
import yaml, bson, pyarrow, pymongo, beartype.door, dateutil.tz, fastavro.schema, grpc.aio, proto.fields, urllib.request
from apache_beam.io.gcp import bigquery
assert yaml.safe_load("1") == 1
print("as ever")
"""
    assert python(code) == "as ever\n"


@pytest.mark.parametrize(
    ("arguments", "lean_too"),
    [
        (["--input", "a.json", "--output", "report.csv"], True),
        (["stream.jsonl", "my runner.json"], True),
        (["--input", "gs://bucket/a"], False),
        (["--output=s3://bucket/a"], False),
        (["--runner", "DirectRunner"], False),
        (["--runner=FlinkRunner"], False),
        (["--streaming"], False),
        (["--environment_type", "LOOPBACK"], False),
    ],
)
def test_it_is_for_programs_that_work_on_this_machine_alone(arguments: Sequence[str], lean_too: bool) -> None:
    assert applies(arguments) is lean_too


def test_a_stand_in_asked_too_early_gives_way_to_the_real_module() -> None:
    """As libraries of the clouds do when they are imported."""
    code = """
from pipeline.engine.imports import lean
with lean([]):
    import httplib2, yaml, cryptography
    from cryptography.hazmat.primitives import hashes
    assert httplib2.DEFAULT_MAX_REDIRECTS == 5
    import grpc, httplib2.error, proto
    class Message(proto.Message):
        number = proto.Field(proto.INT32, number=1)
    assert Message(number=2).number == 2
    class Interceptor(grpc.UnaryUnaryClientInterceptor):
        pass
    assert yaml.safe_load("1") == 1
    assert not hasattr(yaml, "__nothing__")
import cryptography, grpc
assert cryptography.__version__
assert issubclass(Interceptor, grpc.UnaryUnaryClientInterceptor)
from cryptography.fernet import Fernet
import apache_beam
print("as ever")
"""
    assert python(code) == "as ever\n"


def test_it_changes_nothing_where_beam_is_loaded() -> None:
    before = list(sys.meta_path), sorted(sys.modules)
    with lean([]):
        assert (list(sys.meta_path), sorted(sys.modules)) == before


def test_names_that_are_left_out_are_those_of_beam_or_of_its_requirements() -> None:
    """A new Beam may have moved them: then what is said here of seconds is no longer so."""
    for name in ABSENT - {"pyarrow_hotfix", "apitools", "google.cloud", "google.cloud.dataflow"}:  # of Beam's extras
        __import__(name.partition(".")[0])
        assert not name.startswith("apache_beam.") or list(
            Path(beam.__file__).parent.rglob(f"{name.split('.')[-1]}.py")
        )


@pytest.mark.parametrize("more", [{}, {"ids_output": "ids", "rejects_output": "rejects", "deduplicate": True}])
def test_types_of_the_graph_are_right(more: dict[str, Any], tmp_path: Path) -> None:
    """The programs leave this check of Beam out."""
    (tmp_path / "a.json").write_text("[]")
    job = Job(tuple(find_files([str(tmp_path)])), str(tmp_path / "report.csv"), **with_report(more))
    pipeline = beam.Pipeline("FnApiRunner", options=PipelineOptions([]))
    _ = pipeline | HourlyReport(job)
