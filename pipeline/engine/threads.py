"""DoFns that work in threads, where compiled code drops the interpreter lock, or on many elements at once."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam import typehints
from apache_beam.utils.windowed_value import WindowedValue


def share_of_cores(cores: int) -> int:
    """Returns the CPUs for this process: all, or an equal share beside Beam's other workers, at least one.

    Dataflow starts a worker process for each core.
    """
    if "WORKER_ID" not in os.environ:  # set by Beam for each worker process that it starts
        return cores
    beside = [path.read_text().split() for path in Path(f"/proc/{os.getppid()}/task").glob("*/children")]
    return max(1, cores // (sum(map(len, beside)) or cores))


THREADS = share_of_cores(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
"""One thread per CPU available to this process."""

_UNDER_WAY = THREADS + 3  # elements of a bundle: one a thread, two that are queued, and one whose result is awaited
_HELPERS = max(1, THREADS - 1)  # threads beside a bundle's own, which works too
_REQUESTS, _AHEAD_BYTES = 32, 64 * 1024 * 1024  # to a bucket at once, and the memory that their results may take


@cache
def _pool(threads: int, name: str = "work") -> ThreadPoolExecutor:
    """Returns the pool of that size, which all bundles and DoFns of the process share."""
    return ThreadPoolExecutor(threads, name)


def in_threads(work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """Yields the results of work in the order of items, at most THREADS + 1 of which are under way."""
    pending: deque[Future[Any]] = deque()
    for item in items:
        pending.append(_pool(THREADS).submit(work, item))
        if len(pending) > THREADS:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def read_ahead(
    fetch: Callable[[Any], Any], items: Iterable[Any], size_of: Callable[[Any], int], is_near: Callable[[Any], bool]
) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """Fetches remote items in threads, several at once, before they are used.

    Args:
      fetch: gets one item.
      items: in the order in which they are used.
      size_of: about how many bytes an item takes.
      is_near: whether an item is local; it is fetched when it is used.

    Yields:
      Each item, and a function that returns or raises what fetch does.
    """
    pending: deque[tuple[Any, Callable[[], Any]]] = deque()
    held = 0
    for item in items:
        while pending and (len(pending) >= _REQUESTS or held + size_of(item) > _AHEAD_BYTES):
            held -= size_of(pending[0][0])
            yield pending.popleft()
        near = is_near(item)
        pending.append((item, partial(fetch, item) if near else _pool(_REQUESTS, "fetch").submit(fetch, item).result))
        held += size_of(item)
    while pending:
        yield pending.popleft()


class _Task:
    """Work to be done once. Drops its element afterwards so that large blocks can be freed."""

    def __init__(self, work: Callable[[Any], Any], element: Any) -> None:
        self._work, self._element = work, element

    def __call__(self) -> Any:
        element, self._element = self._element, None
        return self._work(element)

    def run(self) -> Future[Any]:
        """Does the work in this thread."""
        result: Future[Any] = Future()
        try:
            result.set_result(self())
        except Exception as error:
            result.set_exception(error)
        return result


class _Pending(NamedTuple):
    result: Future[Any]
    task: _Task
    timestamp: Any
    window: Any


class ThreadedDoFn(beam.DoFn):  # type: ignore[misc]
    """Calls work on each element in a thread while the next ones are read, and emits the results in order.

    The bundle's own thread works too while the others are busy and at the end, so there are not more threads than CPUs
    (30 M lines: 1.6 s instead of 1.8). At most _UNDER_WAY elements are under way in a bundle, which bounds the memory.
    Outputs keep the window and timestamp of their element, unless they are a WindowedValue.
    """

    def work(self, element: Any) -> Any:
        """Computes the result of an element, in a thread."""
        raise NotImplementedError

    def is_small(self, element: Any) -> bool:
        """Returns whether the work costs less than handing it to a thread."""
        return False

    def emit(self, result: Any) -> Iterator[Any]:
        """Yields the outputs of a result, perhaps tagged, in the bundle's own thread."""
        yield result

    def start_bundle(self) -> None:
        self._pending: deque[_Pending] = deque()

    def process(
        self, element: Any, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        unfinished = sum(not pending.result.done() for pending in self._pending)
        is_here = unfinished > THREADS or (not self._pending and self.is_small(element))
        task = _Task(self.work, element)
        result = task.run() if is_here else _pool(_HELPERS).submit(task)
        self._pending.append(_Pending(result, task, timestamp, window))
        while self._pending and (self._pending[0].result.done() or len(self._pending) >= _UNDER_WAY):
            yield from self._next()

    def finish_bundle(self) -> Iterator[Any]:
        for place, pending in reversed(list(enumerate(self._pending))):
            if pending.result.cancel():  # no thread has begun it
                self._pending[place] = pending._replace(result=pending.task.run())
        while self._pending:
            yield from self._next()

    def _next(self) -> Iterator[Any]:
        result, _, timestamp, window = self._pending.popleft()
        for output in self.emit(result.result()):
            if isinstance(output, beam.pvalue.TaggedOutput):
                yield beam.pvalue.TaggedOutput(output.tag, _windowed(output.value, timestamp, window))
            else:
                yield _windowed(output, timestamp, window)


def _windowed(value: Any, timestamp: Any, window: Any) -> WindowedValue:
    return value if isinstance(value, WindowedValue) else WindowedValue(value, timestamp, (window,))


class ListDoFn(beam.DoFn):  # type: ignore[misc]
    """A DoFn that takes lists of elements, each list of one timestamp and window.

    It costs 1.1 us an element, process with a timestamp 2.3. A subclass defines process too: DirectRunner's own engine
    calls nothing else.
    """

    _process_defined = False  # else workers prefer process

    @beam.DoFn.yields_elements  # type: ignore[untyped-decorator]
    def process_batch(
        self, elements: Any, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        """As process, for many elements."""
        return self.process_list(elements, timestamp, window)

    def process_list(self, elements: list[Any], timestamp: Any, window: Any) -> Iterator[Any]:
        """Processes elements, and yields outputs, perhaps tagged."""
        raise NotImplementedError

    def get_input_batch_type(self, input_element_type: Any) -> Any:
        """Returns the type of lists of the elements."""
        return typehints.List[input_element_type]
