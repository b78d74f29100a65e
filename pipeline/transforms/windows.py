"""Hours of a stream: windows by the time of events, with early and late firings, and running totals of their panes."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.coders import FastPrimitivesCoder
from apache_beam.transforms.trigger import (
    AccumulationMode,
    AfterCount,
    AfterProcessingTime,
    AfterWatermark,
    Repeatedly,
)
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec
from apache_beam.transforms.window import FixedWindows, GlobalWindows

from pipeline.engine.coders import typed
from pipeline.model.hours import HOUR, HourClock

_FOREVER = 100_000 * 366 * 86400  # seconds of allowed lateness; Beam has no word for ever, its time ends in 294247


def hour_windows(
    clock: HourClock | None = None, early_firing_seconds: int = 60, late_at_once: bool = False
) -> beam.WindowInto:
    """Windows of an hour that fire early, when the watermark passes their end, and then as often as before.

    Late events come for weeks and in any number of files: with a pane for each, a report would be written again and
    again. Panes hold what is new, to be added up by RunningTotals: of windows that accumulate, Prism keeps each element
    for ever and works on all of them in each pane. No element is too late for its window.

    Args:
      clock: whose hours they are; default: those of +01:00.
      early_firing_seconds: from the first new element of a window to its next pane, in processing time.
      late_at_once: fire for each late element instead.
    """
    late = AfterCount(1) if late_at_once else AfterProcessingTime(early_firing_seconds)
    return beam.WindowInto(
        FixedWindows(HOUR, offset=-(clock or HourClock()).phase % HOUR),
        trigger=AfterWatermark(early=AfterProcessingTime(early_firing_seconds), late=late),
        accumulation_mode=AccumulationMode.DISCARDING,
        allowed_lateness=_FOREVER,
    )


class TotalDoFn(beam.DoFn):  # type: ignore[misc]
    """Adds up the values of a key in state: tuple[K, V] -> what emit yields of each new total.

    A runner works on one bundle of a key at a time, so totals are emitted in their order.
    """

    _TOTAL = ReadModifyWriteStateSpec("total", FastPrimitivesCoder())

    def process(self, element: tuple[Any, Any], total: Any = beam.DoFn.StateParam(_TOTAL)) -> Iterator[Any]:
        key, value = element
        before = total.read()
        now = self.add(before, value)
        if now != before:  # the last pane of a window may be empty
            yield from self.emit(key, value, now)
            if self.is_final(now):
                total.clear()
            else:
                total.write(now)

    def add(self, total: Any, value: Any) -> Any:
        """Returns the new total; total: None at first."""
        raise NotImplementedError

    def emit(self, key: Any, value: Any, total: Any) -> Iterator[Any]:
        """Yields the outputs of a new total; value: the one that was added."""
        yield key, total

    def is_final(self, total: Any) -> bool:
        """Whether the state can be released."""
        return False


class _AddToTotal(TotalDoFn):
    def __init__(self, add: Callable[[Iterable[Any]], Any]) -> None:
        self._add = add

    def add(self, total: Any, value: Any) -> Any:
        return value if total is None else self._add([total, value])


@dataclasses.dataclass
class RunningTotals(beam.PTransform):  # type: ignore[misc]
    """The sum of a key's values so far, with each value: PCollection[tuple[K, V]] -> the same, in the global window.

    The order of values does not matter. The totals of all keys are kept: an hour's take some 50 bytes.

    Attributes:
      add: adds up values of V.
    """

    add: Callable[[Iterable[Any]], Any]

    def expand(self, values: beam.PCollection[tuple[Any, Any]]) -> beam.PCollection[tuple[Any, Any]]:
        # Prism drops the state of a window at its end, whatever lateness it allows. A step that groups totals fires.
        each = Repeatedly(AfterCount(1))
        in_global = beam.WindowInto(GlobalWindows(), trigger=each, accumulation_mode=AccumulationMode.DISCARDING)
        values = values | "No window" >> in_global
        return typed(values | "Add" >> beam.ParDo(_AddToTotal(self.add)), values.element_type)  # type: ignore[no-any-return]
