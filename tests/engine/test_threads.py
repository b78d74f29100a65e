"""How many threads a process works with."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp

from pipeline.engine.threads import THREADS, ThreadedDoFn, in_threads, share_of_cores
from tests.support import ROOT

# Starts argv[1] workers that answer when all of them run.
PARENT = """
import subprocess, sys
worker = "import sys; from pipeline.engine.threads import share_of_cores; sys.stdin.read(1); print(share_of_cores(8))"
run = lambda: subprocess.Popen([sys.executable, "-c", worker], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
workers = [run() for _ in range(int(sys.argv[1]))]
for worker in workers:
    worker.stdin.write("x")
    worker.stdin.flush()
    print(worker.stdout.read().strip())
    worker.stdout.close()
"""


@pytest.mark.parametrize(("workers", "share"), [(1, 8), (2, 4)])
def test_worker_processes_side_by_side_share_the_cores(workers: int, share: int) -> None:
    line = [sys.executable, "-c", PARENT, str(workers)]
    run = subprocess.run(line, env={**os.environ, "WORKER_ID": "sdk-0"}, cwd=ROOT, capture_output=True, check=True)
    assert run.stdout.split()[0] == str(share).encode()


def test_a_process_of_its_own_has_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKER_ID", raising=False)
    assert share_of_cores(8) == 8


def test_more_processes_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_ID", "sdk-0")
    assert share_of_cores(0) == 1


def test_results_come_in_order_and_few_are_under_way() -> None:
    begun: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            begun.append(item)
            yield item

    for number, result in enumerate(in_threads(lambda item: item * item, items())):
        assert result == number * number
        assert len(begun) <= number + THREADS + 1
    assert len(begun) == 100


def test_an_error_of_work_in_threads_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda item: 1 // item, [1, 0]))


class Names(ThreadedDoFn):
    """Which thread does the work."""

    def is_small(self, element: str) -> bool:
        return element == "small"

    def work(self, element: str) -> tuple[str, str]:
        return element, threading.current_thread().name


def test_small_work_changes_no_thread_and_no_order() -> None:
    """Only where nothing is under way, or it would overtake."""
    names = Names()
    names.start_bundle()
    inputs = ["small", "large", "small", "large"]
    outputs = [o.value for x in inputs for o in names.process(x, Timestamp(0), GlobalWindow())]
    assert outputs == [("small", threading.current_thread().name)]
    outputs += [output.value for output in names.finish_bundle()]
    assert [element for element, _ in outputs] == inputs
    assert all(name.startswith("work") for _, name in outputs[1:])
