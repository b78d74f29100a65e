"""How many threads a process works with."""

import inspect
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp

from pipeline.engine.threads import THREADS, ListDoFn, ThreadedDoFn, cpu_share, map_in_threads
from tests.support import ROOT

# Starts argv[1] workers that answer when all of them run.
PARENT = """
import subprocess, sys
worker = "import sys; from pipeline.engine.threads import cpu_share; sys.stdin.read(1); print(cpu_share(8))"
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
    assert cpu_share(8) == 8


def test_more_processes_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_ID", "sdk-0")
    assert cpu_share(0) == 1


def test_a_thread_of_the_parent_may_end_while_its_children_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_ID", "sdk-0")
    monkeypatch.setattr(Path, "glob", lambda *_: iter([Path("/proc/self/task/0/children")]))
    assert cpu_share(8) == 1


def test_results_come_in_order_and_few_are_under_way() -> None:
    begun: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            begun.append(item)
            yield item

    for number, result in enumerate(map_in_threads(lambda item: item * item, items())):
        assert result == number * number
        assert len(begun) <= number + THREADS + 1
    assert len(begun) == 100


def test_an_error_of_work_in_threads_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_in_threads(lambda item: 1 // item, [1, 0]))


class Names(ThreadedDoFn):
    """Whether the bundle's own thread does the work; others begin it when they may."""

    def __init__(self) -> None:
        self.own, self.may_begin = threading.current_thread(), threading.Event()
        self.others = threading.Semaphore(0)  # counts those that would begin
        self.start_bundle()

    def is_small(self, element: str) -> bool:
        return element == "small"

    def work(self, element: str) -> tuple[str, bool]:
        is_own = threading.current_thread() is self.own
        if element == "last":
            self.may_begin.set()
        if not is_own:
            self.others.release()
            assert self.may_begin.wait(60)
        if element == "bad":
            raise ValueError(element)
        return element, is_own

    def outputs(self, *inputs: str) -> list[tuple[str, bool]]:
        return [output.value for element in inputs for output in self.process(element, Timestamp(0), GlobalWindow())]

    def rest(self) -> Iterator[tuple[str, bool]]:
        return (output.value for output in self.finish_bundle())


ENOUGH = [str(number) for number in range(THREADS + 1)]
"""Elements after which the other threads have enough."""


def test_small_work_changes_no_thread_and_no_order() -> None:
    """Only where nothing is under way, or it would overtake."""
    names = Names()
    assert names.outputs("small", "large", "small") == [("small", True)]
    names.may_begin.set()
    assert [element for element, _ in names.rest()] == ["large", "small"]


def test_the_own_thread_works_where_the_others_have_enough() -> None:
    names = Names()
    assert names.outputs(*ENOUGH, "own") == []
    names.may_begin.set()
    rest = list(names.rest())
    assert [element for element, _ in rest] == [*ENOUGH, "own"]
    assert rest[-1] == ("own", True)


def test_at_the_end_the_own_thread_takes_over_what_the_others_have_not_begun() -> None:
    names = Names()
    begun = ENOUGH[: max(1, THREADS - 1)]
    assert names.outputs(*begun, "last") == []
    assert all(names.others.acquire(timeout=60) for _ in begun)
    assert list(names.rest()) == [*((element, False) for element in begun), ("last", True)]


def test_an_error_in_the_own_thread_comes_after_the_results_before_it() -> None:
    names = Names()
    assert names.outputs(*ENOUGH, "bad") == []
    names.may_begin.set()
    rest = names.rest()
    assert [next(rest)[0] for _ in ENOUGH] == ENOUGH
    with pytest.raises(ValueError, match="bad"):
        next(rest)


def test_beam_still_asks_whether_a_dofn_has_process() -> None:
    """ListDoFn overrides the answer, which is private to Beam; without it an element costs twice as much."""
    assert isinstance(inspect.getattr_static(beam.DoFn, "_process_defined"), property)
    assert ListDoFn()._process_defined is False
