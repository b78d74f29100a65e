"""Arguments as people type them."""

import re
from pathlib import Path

import pytest

from pipeline import __version__
from pipeline.cli.options import parse_options
from pipeline.errors import UsageError
from tests.support import EXAMPLE_EVENTS, call, json_lines


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_bytes(json_lines(EXAMPLE_EVENTS))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a", "b"], {"input": ["a", "b"]}),
        (["--output", "x", "a"], {"input": ["a"], "output": "x"}),
        (["a", "--deduplicate", "b"], {"input": ["a", "b"], "deduplicate": True}),
        (["--input", "a", "b", "--input=c"], {"input": ["a", "b", "c"]}),
        (["-", "--output", "-"], {"input": ["-"], "output": "-"}),
        (["--output=o", "--", "-a", "--b"], {"input": ["-a", "--b"], "output": "o"}),
        (["a", "--ids-output", "i"], {"ids_output": "i"}),
        (["a", "--ids-output=i-d_s"], {"ids_output": "i-d_s"}),
        (["a", "--utc_offset", "-05:00"], {"utc_offset": "-05:00"}),
        (["a", "--utc-offset=-05:00"], {"utc_offset": "-05:00"}),
        (["--direct-num-workers", "2", "a"], {"input": ["a"], "direct_num_workers": 2}),
        (["--direct_num_workers=2", "a"], {"input": ["a"], "direct_num_workers": 2}),
        (["--job_server_timeout", "9", "a"], {"input": ["a"], "job_server_timeout": 9}),
        (["--streaming", "a"], {"input": ["a"], "streaming": True}),
        (["--streaming=False", "a"], {"input": ["a"], "streaming": False}),
        (["--streaming=true", "a"], {"input": ["a"], "streaming": True}),
        (["--deduplicate=false", "--skip-rejects=True", "a"], {"deduplicate": False, "skip_rejects": True}),
        (["--update_compatibility_version=2.60.0", "a"], {"input": ["a"], "update_compatibility_version": "2.60.0"}),
        (["--update-compatibility-version", "2.60.0", "a"], {"update_compatibility_version": "2.60.0"}),
        (["-o", "x", "a"], {"input": ["a"], "output": "x"}),
        (["-ox.csv", "a"], {"input": ["a"], "output": "x.csv"}),
        (["-o=x", "a"], {"input": ["a"], "output": "x"}),
        (["-o", "-", "a"], {"input": ["a"], "output": "-"}),
        (["--runner", "FlinkRunner", "--flink-master", "x", "--of_the_runner", "v", "a"], {"input": ["a"]}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_spellings(arguments: list[str], expected: dict[str, object]) -> None:
    options = parse_options(arguments).get_all_options()
    assert {name: options[name] for name in expected} == expected


def test_a_bare_call_shows_the_short_usage(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("usage: python -m pipeline [options] PATTERN ...\n")
    assert len(result.err.splitlines()) == 5


@pytest.mark.parametrize(
    ("option", "texts"),
    [
        ("--version", [f"python -m pipeline {__version__}\n"]),
        ("-V", [f"python -m pipeline {__version__}\n"]),
        ("--help", ["--streaming", "PATTERN ..."]),
    ],
)
def test_help_and_version(option: str, texts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        call(capsys, option)
    printed = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(text in printed for text in texts)


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        *((name, "") for name in ("--by", "--format", "--group_by", "-x", "--a")),
        *((name, ": did you mean --ids_output?") for name in ("--ids", "--id_output", "--ids-outptu")),
        ("--rejects", ": did you mean --rejects_output?"),
        ("--chart", ": did you mean --chart_output?"),
        ("--dedup", ": did you mean --deduplicate?"),
        ("--timezone", ": did you mean --time_zone?"),
        ("--offset", ": did you mean --utc_offset?"),
        ("--out", ": did you mean --output?"),
        ("--subscribtion", ": did you mean --subscription?"),
        ("--runer", ": did you mean --runner?"),
        ("--temp_locatoin", ": did you mean --temp_location?"),
    ],
)
def test_suggestions_come_from_this_program_first_and_from_beam_within_two_letters(option: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_options(["a.jsonl", option, "x"])
    assert str(error.value) == f"unknown option or stray argument: {option}{hint}"


@pytest.mark.parametrize(
    ("option", "explanation"),
    [
        ("-v", "--log_level INFO"),
        ("-q", "--log_level ERROR"),
        ("--verbose", "--log_level INFO"),
        ("--quiet", "--log_level ERROR"),
        ("-i", "--input"),
        ("-output", "did you mean --output?"),
        ("-runner", "did you mean --runner?"),
        ("-ids-output", "did you mean --ids_output?"),
    ],
)
def test_options_of_other_programs_are_explained(option: str, explanation: str) -> None:
    with pytest.raises(UsageError, match=f"^unknown option {option}: .*{re.escape(explanation)}"):
        parse_options(["a.jsonl", option, "x"])


def test_a_boolean_of_another_value_is_refused() -> None:
    with pytest.raises(UsageError, match="--streaming=maybe: takes no value but true or false"):
        parse_options(["a.jsonl", "--streaming=maybe"])


def test_the_log_level_is_set_for_beam_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert "INFO: " not in call(capsys, "a.jsonl").err
    assert "INFO: " in call(capsys, "a.jsonl", "--log-level", "info").err
    assert "invalid choice: 'LOUD'" in call(capsys, "a.jsonl", "--log_level", "loud").err


def test_many_names_take_time_in_proportion() -> None:
    """argparse looked at all arguments for each of them."""
    names = [f"part-{k}.jsonl" for k in range(100_000)]
    assert parse_options(["--output", "x", *names]).input == names
    assert parse_options([f"--input={name}" for name in names]).input == names
