"""Running totals of hours, which write the hours' files, and their release once no event can change them any more.

That is told by a number, not by time alone: late panes wait for their next firing while the watermark goes on. Where
events have just been decoded they still have the time they were found at, which holds the watermark. There the events
of an hour are added up, and when the watermark has passed the hour's closing their number goes to the totals of that
hour. One that has as many events has all of them. A report is final once the ids of its hour are.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.coders import FastPrimitivesCoder, VarIntCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MAX_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.engine.metrics import COUNTS, count
from pipeline.engine.prism import SinkDoFn
from pipeline.engine.run_state import run_state
from pipeline.model.events import Batch
from pipeline.model.hour_ids import Place, union
from pipeline.model.hours import HOUR, HourClock, closing
from pipeline.model.ids import id_lines, ids_came, merge_pieces
from pipeline.model.latency import steady_time
from pipeline.model.table import (
    HourCounts,
    add_counts,
    count_batch,
    csv_text,
    pivot,
    scale_impressions,
    split_hours,
)
from pipeline.stream import hour_files
from pipeline.stream.job import StreamJob
from pipeline.stream.ledger import ledger_of

CLOSED = "closed"
"""Tag of WriteIds' side output: tuple[int, int], an hour, and of how many of its events ids are final."""

Part = tuple[Any, int, int]
"""What comes to a total: what is new, or None; the number of its events, once none can come; of how many ids are final.

The numbers add up.
"""


def new(pair: tuple[Any, Any]) -> tuple[Any, Part]:
    """A pane as a Part."""
    return pair[0], (pair[1], 0, 0)


def last(pair: tuple[Any, int]) -> tuple[Any, Part]:
    """A key's number of events as a Part."""
    return pair[0], (None, pair[1], 0)


def ids_final(pair: tuple[int, int]) -> tuple[int, Part]:
    """A number of events whose ids are final as a Part."""
    return pair[0], (None, 0, pair[1])


class CountEventsPerHour(beam.DoFn):  # type: ignore[misc]
    """The events of each hour in a bundle: Batch -> tuple[int, int], at the earliest time of its batches."""

    def __init__(self, clock: HourClock) -> None:
        self._clock = clock

    def start_bundle(self) -> None:
        self._counts: Counter[int] = Counter()
        self._since = MAX_TIMESTAMP

    def process(self, batch: Batch, timestamp: Any = beam.DoFn.TimestampParam) -> None:
        self._since = min(self._since, timestamp)
        for hour, row in split_hours(count_batch(batch, self._clock), self._clock):
            self._counts[hour] += sum(row)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        yield from (WindowedValue(item, self._since, (GlobalWindow(),)) for item in self._counts.items())


class _Close(beam.DoFn):  # type: ignore[misc]
    _COUNT = ReadModifyWriteStateSpec("count", VarIntCoder())
    _CLOSING = TimerSpec("closing", TimeDomain.WATERMARK)

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed

    def process(
        self,
        element: tuple[Any, int],
        count: Any = beam.DoFn.StateParam(_COUNT),
        timer: Any = beam.DoFn.TimerParam(_CLOSING),
    ) -> None:
        key, number = element
        before = count.read()
        count.write((before or 0) + number)
        if before is None:  # once: Prism keeps each time that a timer was ever set to, until then
            timer.set(self._closes(key) + 1)

    @on_timer(_CLOSING)  # type: ignore[untyped-decorator]
    def close(self, key: Any = beam.DoFn.KeyParam, count: Any = beam.DoFn.StateParam(_COUNT)) -> Iterator[Any]:
        number = count.read()
        ends = run_state.stopping.is_set() or steady_time() < self._closes(key)  # the stream does, with all time
        if number and not ends:
            count.clear()
            yield key, number

    def _closes(self, key: Any) -> int:
        hour = key if isinstance(key, int) else key[0]
        return int(closing(hour + HOUR, self._allowed))


@dataclasses.dataclass
class CloseHours(beam.PTransform):  # type: ignore[misc]
    """Gives the number of events of each key, once none can come: PCollection[tuple[K, int]] -> the same.

    A key is an hour's start, or begins with it. In: numbers to add up, not behind the watermark; global window. Out: a
    number for each key, when the watermark has passed the hour's closing; none for hours that are open when a stream
    is stopped.
    """

    allowed: int

    def expand(self, counts: beam.PCollection[tuple[Any, int]]) -> beam.PCollection[tuple[Any, int]]:
        closed = counts | "Closing" >> beam.ParDo(_Close(self.allowed))
        closed.element_type = counts.element_type
        return closed


class _WriteTotal(SinkDoFn):
    """Adds up what comes of a key, and writes its file with each addition: tuple[K, Part] -> tagged outputs.

    What has state has its bundles one after the other, so that no older version replaces a newer one.
    """

    _TOTAL = ReadModifyWriteStateSpec("total", FastPrimitivesCoder())

    def __init__(self, job: StreamJob) -> None:
        self._job, self._clock = job, job.report.clock

    def process(self, element: tuple[Any, Part], total: Any = beam.DoFn.StateParam(_TOTAL)) -> Iterator[Any]:
        key, (pane, number, ids) = element
        held, numbers, all_ids = total.read() or (None, 0, 0)
        if pane is not None and self.size(pane):  # panes may be empty, also after the last
            held = pane if held is None else self.add([held, pane])
            yield from self.write(key, held, pane, self.size(held) >= self._least(key))
        numbers, all_ids = numbers + number, all_ids + ids
        if held is not None and self.size(held) == numbers and (not self.awaits_ids() or all_ids == numbers):
            total.clear()
            yield from self.close(key, held)
        else:
            total.write((held, numbers, all_ids))

    def _least(self, key: Any) -> int:
        """Events that the file held at the start: until those of earlier runs have come, it stays."""
        if not self._job.ledger:
            return 0
        if isinstance(key, int):
            return ledger_of(self._job.output).least(key)
        return ledger_of(self._job.output).least(key[0]) if self._job.id_parts == 1 else 0

    def add(self, parts: list[Any]) -> Any:
        raise NotImplementedError

    def size(self, part: Any) -> int:
        """Of how many events it is."""
        raise NotImplementedError

    def awaits_ids(self) -> bool:
        return False

    def write(self, key: Any, held: Any, pane: Any, is_whole: bool) -> Iterator[Any]:
        raise NotImplementedError

    def close(self, key: Any, held: Any) -> Iterator[Any]:
        raise NotImplementedError

    def put(self, folder: str, name: str, data: bytes, size: int) -> None:
        """Writes a file that holds so many events."""
        run_state.written[hour_files.write_file(folder, name, self._job.token, data)] = size


class WriteReport(_WriteTotal):
    def add(self, parts: list[HourCounts]) -> HourCounts:
        return add_counts(parts)

    def size(self, part: HourCounts) -> int:
        return sum(part)

    def awaits_ids(self) -> bool:
        return self._job.ids_output is not None

    def write(self, key: int, held: HourCounts, pane: HourCounts, is_whole: bool) -> Iterator[Any]:
        if is_whole:
            self._put_report(key, held)
        yield beam.pvalue.TaggedOutput(COUNTS, count(counted=sum(pane)))

    def _put_report(self, key: int, held: HourCounts) -> None:
        if self._job.ledger and self._job.report.deduplicate:
            ledger_of(self._job.output).note_counts(key, held)
        table = scale_impressions(pivot([(key, held)], self._clock), self._job.report.impressions_factor)
        self.put(self._job.output, f"{self._name(key)}.csv", csv_text(table).encode(), sum(held))

    def close(self, key: int, held: HourCounts) -> Iterator[Any]:
        if self._job.ledger:
            ledger_of(self._job.output).close_hour(key, held)
        hour_files.write_file(self._job.output, f"{self._name(key)}.final", self._job.token, b"")
        yield from ()

    def _name(self, hour: int) -> str:
        return hour_files.hour_name(self._clock.label(hour))


class WriteIds(_WriteTotal):
    def add(self, parts: list[bytes]) -> bytes:
        return union(parts)

    def size(self, part: bytes) -> int:
        return ids_came(part)

    def write(self, key: Place, held: bytes, pane: bytes, is_whole: bool) -> Iterator[Any]:
        if is_whole:
            ids, size = merge_pieces(held)
            self.put(self._job.ids_output or "", self._name(*key), id_lines(ids), size)
        yield from ()

    def close(self, key: Place, held: bytes) -> Iterator[Any]:
        yield beam.pvalue.TaggedOutput(CLOSED, (key[0], ids_came(held)))

    def _name(self, hour: int, part: int) -> str:
        parts = self._job.id_parts
        which = f"-{part:0{len(str(parts))}}-of-{parts}" if parts > 1 else ""
        return f"{hour_files.hour_name(self._clock.label(hour))}{which}.txt"
