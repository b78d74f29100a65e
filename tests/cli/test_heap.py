"""Freed memory is used again, and where that cannot be asked for nothing happens."""

import subprocess
import sys
from unittest import mock

from pipeline.cli import heap
from tests.support import ROOT

BLOCKS = """
import resource, sys
import numpy as np
from pipeline.cli.heap import keep_freed_memory
keep_freed_memory()
for k in range(100):
    if k == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [np.ones(4 << 20, np.uint8) for _ in range(8)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_blocks_of_the_same_size_use_the_same_memory() -> None:
    run = subprocess.run([sys.executable, "-c", BLOCKS], capture_output=True, check=True, cwd=ROOT)
    pages_of_a_block = (4 << 20) // 4096
    assert int(run.stdout) < pages_of_a_block


def test_on_other_systems() -> None:
    with mock.patch("ctypes.CDLL", return_value=object()):
        heap.keep_freed_memory()
