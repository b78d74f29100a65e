"""Compiled code reads and writes only what it is given: tests that call it, each array against a forbidden page."""

import os
import signal
import subprocess
import sys

import pytest

from tests.support import ROOT

TESTS = ["tests/native/test_scanner.py", "tests/formats/test_counting.py", "tests/model/test_ids.py"]
TESTS += ["tests/formats/test_blocks.py::test_arrays_in_small_blocks_are_as_in_one"]

MISUSE = """
import numpy, tests.guard_pages
from pipeline.native.loader import invoke
lines = numpy.full(4096, 10, numpy.uint8)
assert invoke("count_lines", lines, 0, 4096) == 0
invoke("count_lines", lines, *numpy.array({bounds}))
"""


def guarded(side: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GUARDED": side}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("side", ["front", "behind"])
def test_no_byte_beside_an_array_is_touched(side: str) -> None:
    done = guarded(side, "-m", "pytest", "-q", "-p", "tests.guard_pages", "-p", "no:cacheprovider", *TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("side", "bounds"), [("front", [-64, 4096]), ("behind", [0, 4160])])
def test_a_byte_beside_an_array_ends_the_process(side: str, bounds: list[int]) -> None:
    assert guarded(side, "-c", MISUSE.format(bounds=bounds)).returncode == -signal.SIGSEGV
