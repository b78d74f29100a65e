"""The examples of docs/beam.md that need Beam's extras: Beam YAML, a notebook, and the graph from Kafka to BigQuery."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import apache_beam as beam
import nbformat
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from nbclient import NotebookClient

from examples.beam import kafka_to_bigquery
from tests.support import EXAMPLE_EVENTS, ROOT, json_lines

EXAMPLES = ROOT / "examples"


def run_yaml(folder: Path, pipeline: Path, **variables: str) -> None:
    command = [sys.executable, "-m", "apache_beam.yaml.main", f"--yaml_pipeline_file={pipeline}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    variables_option = f"--jinja_variables={json.dumps(variables)}"
    subprocess.run([*command, "--runner=FnApiRunner", variables_option], cwd=folder, env=environment, check=True)


def test_beam_yaml(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(json_lines(EXAMPLE_EVENTS) + b"no event\n")
    run_yaml(tmp_path, EXAMPLES / "beam_yaml" / "report.yaml", input="events.jsonl", output="out")
    (report,), (ids,), (invalid,) = ((tmp_path / "out").glob(f"{name}*") for name in ("report", "ids", "invalid"))
    rows = sorted(csv.DictReader(report.open()), key=lambda row: row["hour"])
    assert [(row["hour"], row["video_25"], row["impressions_scaled"]) for row in rows] == [
        ("2021-04-02T19:00:00+02:00", "1", "0.0"),
        ("2021-04-02T21:00:00+02:00", "1", "0.0"),
        ("2021-04-02T23:00:00+02:00", "1", "0.0"),
    ]
    assert sorted(ids.read_text().split()) == sorted(event["id"] for event in EXAMPLE_EVENTS)
    (error,) = map(json.loads, invalid.read_text().splitlines())
    assert (error["element"], error["msg"][:9]) == ("no event", "not JSON:")


def test_a_notebook() -> None:
    notebook = nbformat.read(EXAMPLES / "beam" / "notebook.ipynb", 4)
    with mock.patch.dict(os.environ, {"PYTHONPATH": str(ROOT)}):
        NotebookClient(notebook, timeout=500).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = [output["data"].get("text/plain", "") for output in outputs if "data" in output]
    for text in ("2021-04-02T20:00:00+01:00", "c8e3", "unknown event 'click'"):
        assert any(text in output for output in shown), shown


def test_the_graph_from_kafka_to_bigquery() -> None:
    """Kafka's transform is written in Java, so messages come from elsewhere here."""
    messages = beam.Create([(b"key", json.dumps(event).encode()) for event in EXAMPLE_EVENTS])
    graphs = []
    with (
        mock.patch.object(kafka_to_bigquery, "ReadFromKafka", return_value=messages),
        mock.patch.object(
            beam.Pipeline, "run", lambda pipeline: graphs.append(pipeline.to_runner_api()) or mock.Mock()
        ),
    ):
        kafka_to_bigquery.run("localhost:9092", "events", "project:ads.hourly", ["--project=project"])
    names = {step.unique_name for step in graphs[0].components.transforms.values()}
    assert {"WriteToBigQuery", "HourlyRows/Total/Add", "BatchEvents/Batch"} <= {name.split("(")[0] for name in names}
    beam.Pipeline.from_runner_api(graphs[0], FnApiRunner(), PipelineOptions())
