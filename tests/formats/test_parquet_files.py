"""Parquet files on this machine are open as long as blocks need them, whatever becomes of their names."""

import os
from pathlib import Path

import pytest

from pipeline.errors import InputError
from tests import support
from tests.parquet_support import SIX, blocks, write


@pytest.mark.parametrize("change", ["gone", "other", "cut"])
def test_a_file_that_changes_between_reading_and_decoding(change: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    write(path, SIX)
    (block,) = blocks(path, True)
    if change == "cut":
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(InputError, match="a: row 0: damaged Parquet: "):
            block.decode(True, None)
        return
    path.unlink()
    if change == "other":
        write(path, SIX[:2])
    assert support.batch_rows(block.decode(True, None)) == SIX


def test_files_are_closed_when_no_block_needs_them_any_more(tmp_path: Path) -> None:
    write(tmp_path / "a", SIX, row_group_size=2)
    before = len(os.listdir("/proc/self/fd"))
    found = list(blocks(tmp_path / "a", True))
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del found
    assert len(os.listdir("/proc/self/fd")) == before
