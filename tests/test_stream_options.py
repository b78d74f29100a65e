"""The options of a stream: what is refused before anything runs, and why."""

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.options import parse_options
from pipeline.stream_options import make_stream_job

SUBSCRIPTION = "projects/a/subscriptions/b"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("--streaming", "needs either --input"),
        (f"--streaming --input a --subscription {SUBSCRIPTION}", "needs either --input"),
        ("--streaming --input -", "standard input"),
        ("--streaming --input a --output -", "standard input"),
        ("--streaming --subscription b", "must be projects/PROJECT/subscriptions/NAME"),
        ("--streaming --input a --early_firing_seconds 0", "--early_firing_seconds must be at least 1"),
        ("--streaming --input a --allowed_lateness_seconds -1", "--allowed_lateness_seconds must be at least 0"),
        ("--streaming --input a --id_attribute x", "belong to --subscription"),
        ("--streaming --input a --runner FnApiRunner", "would wait for ever. Use --runner PrismRunner"),
        ("--streaming --input a --runner DirectRunner", "cannot watch files.*Use --runner PrismRunner"),
        (f"--streaming --subscription {SUBSCRIPTION}", "PrismRunner cannot read Pub/Sub. Use --runner DataflowRunner"),
        (f"--streaming --subscription {SUBSCRIPTION} --runner FnApiRunner", "Use --runner DataflowRunner"),
        ("--streaming --input a --output b --ids_output b", "two outputs have the same name"),
        ("--streaming --input a --utc_offset 1", "UTC offset"),
        (f"--input a --subscription {SUBSCRIPTION}", "--subscription needs --streaming"),
        ("--input a --early_firing_seconds 5", "--early_firing_seconds needs --streaming"),
    ],
)
def test_refused(arguments: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_options(arguments.split())


def test_a_job_makes_its_folders(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    outputs = [f"{tmp_path}/out/{name}" for name in ("reports", "ids", "rejects")]
    names = ("--output", "--ids_output", "--rejects_output")
    options = parse_options(
        [
            "--streaming",
            "--input",
            f"{tmp_path}/in/*.jsonl",
            *(x for pair in zip(names, outputs, strict=True) for x in pair),
        ]
    )
    assert make_stream_job(options).outputs == outputs
    assert all(Path(folder).is_dir() and not list(Path(folder).iterdir()) for folder in outputs)


def test_a_job_that_would_read_what_it_writes(tmp_path: Path) -> None:
    options = parse_options(["--streaming", "--input", f"{tmp_path}/*", "--output", str(tmp_path)])
    with pytest.raises(UsageError, match="an input and an output"):
        make_stream_job(options)


def test_nothing_to_watch(tmp_path: Path) -> None:
    options = parse_options(["--streaming", "--input", f"{tmp_path}/no/*.jsonl", "--output", f"{tmp_path}/out"])
    with pytest.raises(UsageError, match=r"there is no folder .*/no to watch"):
        make_stream_job(options)


def test_an_output_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    options = parse_options(["--streaming", "--input", f"{tmp_path}/*", "--output", f"{tmp_path}/file"])
    with pytest.raises(UsageError, match="cannot be written"):
        make_stream_job(options)
