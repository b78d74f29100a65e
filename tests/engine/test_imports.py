"""Beam imported without optional libraries: the same reports, what is skipped, and that it can be imported later."""

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

from pipeline.batch.graph import HourlyReport, Job
from pipeline.engine.imports import SKIPPED, SWITCH, can_trim, trimmed_imports
from pipeline.storage.matching import find_files
from tests.support import EXAMPLE_EVENTS, EXAMPLE_REPORT, ROOT, json_lines, run, with_report

LEFT_OUT = ("pyarrow", "pymongo", "bson", "apache_beam.io.gcp.bigquery", "requests")
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
        assert (done.status, done.out, done.err.count("\n")) == (0, EXAMPLE_REPORT, 1), done.err
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
print(json.dumps([name for name in {LEFT_OUT!r} if name in sys.modules]))
"""


@pytest.mark.parametrize(("switch", "loaded"), [("", []), ("1", [*LEFT_OUT])])
def test_what_a_run_loads(switch: str, loaded: list[str]) -> None:
    assert json.loads(python(RUN, **{SWITCH: switch}).splitlines()[-1]) == loaded


def test_skipped_libraries_can_be_imported_afterwards() -> None:
    code = """
from pipeline.engine.imports import trimmed_imports
with trimmed_imports([]):
    import apache_beam
import bson, pyarrow, pymongo
from apache_beam.io.gcp import bigquery
print("imported")
"""
    assert python(code) == "imported\n"


@pytest.mark.parametrize(
    ("arguments", "trims"),
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
def test_only_local_batches_are_trimmed(arguments: Sequence[str], trims: bool) -> None:
    assert can_trim(arguments) is trims


def test_nothing_changes_where_beam_is_loaded() -> None:
    before = list(sys.meta_path), sorted(sys.modules)
    with trimmed_imports([]):
        assert (list(sys.meta_path), sorted(sys.modules)) == before


def test_skipped_modules_exist_in_beam_or_its_requirements() -> None:
    """A new Beam may have moved them: then what is said here of seconds is no longer so."""
    for name in SKIPPED - {"pyarrow_hotfix", "apitools", "google.cloud", "google.cloud.dataflow"}:  # of Beam's extras
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
