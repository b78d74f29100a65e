"""DoFns that work in threads, since compiled code releases the GIL, or on lists of elements."""

import contextlib
import ctypes
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


def cpu_share(cores: int) -> int:
    """Returns the CPUs for this process: an equal share if Beam runs several worker processes, as Dataflow does."""
    if "WORKER_ID" not in os.environ:  # set by Beam for each worker process that it starts
        return cores
    beside = 0
    for path in Path(f"/proc/{os.getppid()}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended
            beside += len(path.read_text().split())
    return max(1, cores // (beside or cores))


THREADS = cpu_share(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
"""Number of worker threads: one per CPU available to this process."""

_MAX_IN_FLIGHT = THREADS + 3  # elements of a bundle: one per thread, two queued, one whose result is awaited
_HELPERS = max(1, THREADS - 1)  # threads beside a bundle's own, which works too
_REQUESTS, _PREFETCH_BYTES = 32, 64 * 1024 * 1024  # concurrent requests to a bucket, and memory for their results


def set_malloc_option(option: int, value: int) -> None:
    """Sets an option of glibc's malloc for all threads of this process (mallopt); no effect on other systems."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(option, value)


@cache
def _pool(threads: int, name: str = "work") -> ThreadPoolExecutor:
    """Returns a pool shared by all bundles and DoFns of the process."""
    return ThreadPoolExecutor(threads, name)


def map_in_threads(work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """Yields the results of work in the order of items; at most THREADS + 1 are in flight, which bounds the memory."""
    pending: deque[Future[Any]] = deque()
    for item in items:
        pending.append(_pool(THREADS).submit(work, item))
        if len(pending) > THREADS:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def read_ahead(
    fetch: Callable[[Any], Any], items: Iterable[Any], size_of: Callable[[Any], int], is_local: Callable[[Any], bool]
) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """Prefetches remote items in threads.

    Args:
      fetch: fetches one item.
      items: in the order of their use.
      size_of: estimates the size of an item in bytes.
      is_local: whether an item is local; local items are fetched on use.

    Yields:
      Each item, and a function that returns the result of fetch or raises its error.
    """
    pending: deque[tuple[Any, Callable[[], Any]]] = deque()
    size = 0
    for item in items:
        while pending and (len(pending) >= _REQUESTS or size + size_of(item) > _PREFETCH_BYTES):
            size -= size_of(pending[0][0])
            yield pending.popleft()
        get = partial(fetch, item) if is_local(item) else _pool(_REQUESTS, "fetch").submit(fetch, item).result
        pending.append((item, get))
        size += size_of(item)
    while pending:
        yield pending.popleft()


class _Task:
    """One call of work. Drops its element afterwards so that large blocks can be freed."""

    def __init__(self, work: Callable[[Any], Any], element: Any) -> None:
        self._work, self._element = work, element

    def __call__(self) -> Any:
        element, self._element = self._element, None
        return self._work(element)

    def run_inline(self) -> Future[Any]:
        """Does the work in the calling thread."""
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
    """Calls work on each element in a thread pool, and emits the results in order.

    Elements run on the pool or, when it is saturated and at the end, on the bundle's thread, so that there are no more
    threads than CPUs (30 M lines: 1.6 s instead of 1.8). At most _MAX_IN_FLIGHT elements are in flight per bundle,
    which bounds the memory. Outputs keep the window and timestamp of their element, unless they are a WindowedValue.
    """

    def work(self, element: Any) -> Any:
        """Computes the result of an element, in a thread."""
        raise NotImplementedError

    def is_small(self, element: Any) -> bool:
        """Returns whether the work takes less time than scheduling it on the pool."""
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
        is_inline = unfinished > THREADS or (not self._pending and self.is_small(element))
        task = _Task(self.work, element)
        result = task.run_inline() if is_inline else _pool(_HELPERS).submit(task)
        self._pending.append(_Pending(result, task, timestamp, window))
        while self._pending and (self._pending[0].result.done() or len(self._pending) >= _MAX_IN_FLIGHT):
            yield from self._next()

    def finish_bundle(self) -> Iterator[Any]:
        for number, pending in reversed(list(enumerate(self._pending))):
            if pending.result.cancel():  # still queued
                self._pending[number] = pending._replace(result=pending.task.run_inline())
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
    """A DoFn that takes lists of elements, each list with one timestamp and window.

    It costs 1.1 us per element, instead of 2.3 for process with a timestamp. Subclasses also define process, the only
    method that BundleBasedDirectRunner calls.
    """

    _process_defined = False  # otherwise workers prefer process

    @beam.DoFn.yields_elements  # type: ignore[untyped-decorator]
    def process_batch(
        self, elements: Any, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        """Called by Beam's workers instead of process."""
        return self.process_list(elements, timestamp, window)

    def process_list(self, elements: list[Any], timestamp: Any, window: Any) -> Iterator[Any]:
        """Processes elements, and yields outputs, perhaps tagged."""
        raise NotImplementedError

    def get_input_batch_type(self, input_element_type: Any) -> Any:
        """Returns the type of lists of the elements."""
        return typehints.List[input_element_type]
