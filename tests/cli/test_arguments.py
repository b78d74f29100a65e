"""Arguments as people type them."""

from pathlib import Path

import pytest

from pipeline.cli.options import parse_options
from pipeline.version import VERSION
from tests.support import EXAMPLE_EVENTS, EXAMPLE_REPORT, call, json_lines


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
        (["--runner", "FlinkRunner", "--flink-master", "x", "--of_the_runner", "v", "a"], {"input": ["a"]}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_spellings(arguments: list[str], expected: dict[str, object]) -> None:
    options = parse_options(arguments).get_all_options()
    assert {name: options[name] for name in expected} == expected


def test_a_pattern_alone(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, "a.jsonl", "--output", "-")
    assert (result.status, result.out) == (0, EXAMPLE_REPORT)


def test_a_bare_call_shows_the_short_usage(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("usage: python -m pipeline [options] PATTERN ...\n")
    assert len(result.err.splitlines()) == 5


@pytest.mark.parametrize(
    ("option", "texts"),
    [("--version", [f"python -m pipeline {VERSION}\n"]), ("--help", ["--streaming", "PATTERN ..."])],
)
def test_help_and_version(option: str, texts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        call(capsys, option)
    printed = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(text in printed for text in texts)
