"""Blocks and what batches hold are not pickled where nothing ships them, also where Beam checks no types."""

import contextlib
from pathlib import Path
from unittest import mock

import pytest

from pipeline.cli.main import main
from pipeline.formats.decoding import Block
from pipeline.model.events import Batch, Ids
from tests import support


@pytest.mark.parametrize(
    ("refused", "more"),
    [((Block, Batch), ()), ((Block, Batch, Ids), ("--ids_output=ids.txt",)), ((Block,), ("--deduplicate",))],
)
def test_a_run_pickles_no_blocks_or_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: tuple[type, ...], more: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("events.jsonl").write_bytes(support.json_lines(support.EXAMPLE_EVENTS))
    with contextlib.ExitStack() as stack:
        for kind in refused:
            pickled = mock.Mock(side_effect=AssertionError("pickled"))
            stack.enter_context(mock.patch.object(kind, "__reduce_ex__", pickled))
        assert main(["--input=events.jsonl", "--output=report.csv", *more]) == 0
    assert Path("report.csv").read_text() == support.EXAMPLE_REPORT
