"""Hours of a stream: event-time windows with early and late firings, and running totals of their panes."""

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

_FOREVER = 100_000 * 366 * 86400  # seconds of allowed lateness: Beam has no infinity, its time ends in 294247


def hour_windows(
    clock: HourClock | None = None, early_firing_seconds: int = 60, late_at_once: bool = False
) -> beam.WindowInto:
    """Returns windows of an hour with early, on-time and late firings, which discard fired panes.

    Late panes are as frequent as early ones: with one for each late file, a report would be rewritten again and again.
    Add panes up with RunningTotals: with accumulating windows, Prism keeps and reprocesses all elements. No element is
    dropped as late.

    Args:
      clock: of the hours; default: +01:00.
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


class _AddToTotal(beam.DoFn):  # type: ignore[misc]
    """Adds up the values of a key. Runners process one bundle of a key at a time, so totals are emitted in order."""

    _TOTAL = ReadModifyWriteStateSpec("total", FastPrimitivesCoder())

    def __init__(self, add: Callable[[Iterable[Any]], Any]) -> None:
        self._add = add

    def process(self, element: tuple[Any, Any], total: Any = beam.DoFn.StateParam(_TOTAL)) -> Iterator[Any]:
        key, value = element
        before = total.read()
        now = value if before is None else self._add([before, value])
        if now != before:  # the last pane of a window may be empty
            total.write(now)
            yield key, now


@dataclasses.dataclass
class RunningTotals(beam.PTransform):  # type: ignore[misc]
    """Emits the sum of a key's values so far, for each value: PCollection[tuple[K, V]] -> the same, global window.

    The totals of all keys stay in state: some 50 bytes for an hour's counts.

    Args:
      add: adds up values.
    """

    add: Callable[[Iterable[Any]], Any]

    def expand(self, values: beam.PCollection[tuple[Any, Any]]) -> beam.PCollection[tuple[Any, Any]]:
        # Prism drops the state of a window at its end despite allowed lateness. A later GroupByKey needs a trigger.
        each = Repeatedly(AfterCount(1))
        in_global = beam.WindowInto(GlobalWindows(), trigger=each, accumulation_mode=AccumulationMode.DISCARDING)
        values = values | "No window" >> in_global
        return typed(values | "Add" >> beam.ParDo(_AddToTotal(self.add)), values.element_type)  # type: ignore[no-any-return]
