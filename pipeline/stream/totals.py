"""Running totals of hours, and when they are given back: once no event can change them any more.

That is told by a number, not by time alone: late panes wait for their next firing while the watermark goes on. Where
events have just been decoded they still have the time they were found at, which holds the watermark. There the events
of an hour are added up, and when the watermark has passed the hour's closing their number goes to whoever keeps
something of that hour. A keeper that has as many has all of them.
"""

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.coders import FastPrimitivesCoder, VarIntCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.transforms.window import GlobalWindow
from apache_beam.typehints import Tuple
from apache_beam.utils.timestamp import MAX_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.model.events import Batch
from pipeline.model.hours import HOUR, HourClock, closing
from pipeline.model.table import count_batch, split_hours

CAME = "came"
"""Tag of side outputs with how many events of a key came: tuple[K, int], at the time when they were found."""

CLOSED = "closed"
"""Tag of RunningTotals' side output: tuple[K, int], how many totals were given of a key whose state is given back."""


class CameByHour(beam.DoFn):  # type: ignore[misc]
    """How many events of each hour came to a bundle: Batch -> tuple[int, int], at the earliest time of its batches."""

    def __init__(self, clock: HourClock) -> None:
        self._clock = clock

    def start_bundle(self) -> None:
        self._came: Counter[int] = Counter()
        self._since = MAX_TIMESTAMP

    def process(self, batch: Batch, timestamp: Any = beam.DoFn.TimestampParam) -> None:
        self._since = min(self._since, timestamp)
        for hour, row in split_hours(count_batch(batch, self._clock), self._clock):
            self._came[hour] += sum(row)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        yield from (WindowedValue(item, self._since, (GlobalWindow(),)) for item in self._came.items())


class _Close(beam.DoFn):  # type: ignore[misc]
    _CAME = ReadModifyWriteStateSpec("came", VarIntCoder())
    _CLOSING = TimerSpec("closing", TimeDomain.WATERMARK)

    def __init__(self, allowed: int, started: int) -> None:
        self._allowed, self._started = allowed, started

    def process(
        self,
        element: tuple[Any, int],
        came: Any = beam.DoFn.StateParam(_CAME),
        timer: Any = beam.DoFn.TimerParam(_CLOSING),
    ) -> None:
        key, number = element
        before = came.read()
        came.write((before or 0) + number)
        if before is None:  # once: Prism keeps each time that a timer was ever set to, until then
            timer.set(self._closes(key) + 1)

    @on_timer(_CLOSING)  # type: ignore[untyped-decorator]
    def close(self, key: Any = beam.DoFn.KeyParam, came: Any = beam.DoFn.StateParam(_CAME)) -> Iterator[Any]:
        number = came.read()
        if number and time.time() >= self._closes(key):  # else the stream ends, with all time; the next one may go on
            came.clear()
            yield key, number

    def _closes(self, key: Any) -> int:
        hour = key if isinstance(key, int) else key[0]
        return int(closing(hour + HOUR, self._allowed, self._started))


@dataclasses.dataclass
class CloseHours(beam.PTransform):  # type: ignore[misc]
    """Says of each key how many events came in all, once none can come: PCollection[tuple[K, int]] -> the same.

    A key is an hour's start, or begins with it. In: numbers to add up, not behind the watermark; global window. Out: a
    number for each key, when the watermark has passed the hour's closing; none for hours that are open when a stream
    is stopped.
    """

    allowed: int
    started: int

    def expand(self, came: beam.PCollection[tuple[Any, int]]) -> beam.PCollection[tuple[Any, int]]:
        closed = came | "Closing" >> beam.ParDo(_Close(self.allowed, self.started))
        closed.element_type = came.element_type
        return closed


class _AddToTotal(beam.DoFn):  # type: ignore[misc]
    _TOTAL = ReadModifyWriteStateSpec("total", FastPrimitivesCoder())

    def __init__(self, add: Callable[[list[Any]], Any], size: Callable[[Any], int]) -> None:
        self._add, self._size = add, size

    def process(self, pane: tuple[Any, Any], total: Any = beam.DoFn.StateParam(_TOTAL)) -> Iterator[Any]:
        key, new = pane
        now, given, last = total.read() or (None, 0, 0)
        if isinstance(new, int):
            last = new
        elif self._size(new):  # panes may be empty, also after the last
            now, given = new if now is None else self._add([now, new]), given + 1
            yield key, now
        if last and now is not None and self._size(now) == last:
            total.clear()
            yield beam.pvalue.TaggedOutput(CLOSED, (key, given))
        else:
            total.write((now, given, last))


@dataclasses.dataclass
class RunningTotals(beam.PTransform):  # type: ignore[misc]
    """The sum of a key's panes so far, with each pane: PCollection[tuple[K, T]] -> a dict of PCollections.

    totals (main): tuple[K, T]. CLOSED: see there.

    add: what adds up values of T, which are no numbers; the order of panes does not matter. size: of how many events a
    sum is; where closing has the number of a key and its sum is of as many, its state is given back. All of them are to
    be in the global window.
    """

    add: Callable[[list[Any]], Any]
    size: Callable[[Any], int]
    closing: beam.PCollection[tuple[Any, int]] | None = None

    def expand(self, panes: beam.PCollection[tuple[Any, Any]]) -> Any:
        kind = panes.element_type
        add = beam.ParDo(_AddToTotal(self.add, self.size)).with_outputs(CLOSED, main="totals")
        outputs = together(panes, self.closing, "closing") | "Add" >> add
        outputs.totals.element_type = kind
        outputs[CLOSED].element_type = Tuple[kind.tuple_types[0], int]
        return outputs


def together(one: beam.PCollection[Any], other: beam.PCollection[Any] | None, what: str) -> beam.PCollection[Any]:
    """Both, if there is another one; of tuples the keys are of the same type, the values may differ."""
    if other is None:
        return one
    keys = getattr(one.element_type, "tuple_types", None)
    one.element_type = other.element_type = Tuple[keys[0], Any] if keys else one.element_type  # so one coder
    both = (one, other) | f"With {what}" >> beam.Flatten()
    both.element_type = one.element_type
    return both
