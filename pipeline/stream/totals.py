"""Running totals of hours: they write the files of an hour, and finalize it once no event can change it.

An hour is final when its totals contain as many events as were decoded, and its ids are final. The watermark alone does
not prove that, since late panes wait for their next firing while it advances. Decoded events are counted upstream,
under the file-discovery watermark; the count of an hour is emitted once the watermark passes its end plus the allowed
lateness.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.coders import VarIntCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MAX_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.engine.metrics import COUNTS, count
from pipeline.engine.prism import SinkDoFn
from pipeline.engine.run_state import run_state
from pipeline.model.events import Batch
from pipeline.model.hours import HOUR, HourClock, closing_time
from pipeline.model.ids import HourShard, event_count, id_lines, merge_packed, union
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
from pipeline.transforms.windows import TotalDoFn

CLOSED = "closed"
"""Tag of an output of WriteIds: tuple[int, int], an hour, and the number of its events whose ids are final."""

Part = tuple[Any, int, int]
"""An addition to a total: a pane or None; the number of the key's events, once none can follow; the number of events
whose ids are final. The numbers add up.
"""


class CountEventsPerHour(beam.DoFn):  # type: ignore[misc]
    """Counts the events of a bundle by hour: Batch -> tuple[int, int], at the earliest timestamp of its batches."""

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


class EmitFinalCounts(beam.DoFn):  # type: ignore[misc]
    """Sums the event counts of each key until its hour closes: tuple[K, int] -> tuple[K, int], global window.

    A key is, or begins with, the start of an hour. Emits the sum of a key when the watermark passes the closing of its
    hour; nothing for hours that are open when the stream stops. Input must not be behind the watermark.
    """

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
        if before is None:  # once: Prism keeps every timestamp that a timer was set to until it fires
            timer.set(self._closes(key) + 1)

    @on_timer(_CLOSING)  # type: ignore[untyped-decorator]
    def close(self, key: Any = beam.DoFn.KeyParam, count: Any = beam.DoFn.StateParam(_COUNT)) -> Iterator[Any]:
        number = count.read()
        is_draining = run_state.stopping.is_set() or steady_time() < self._closes(key)  # the watermark jumped to +inf
        if number and not is_draining:
            count.clear()
            yield key, number

    def _closes(self, key: Any) -> int:
        hour = key if isinstance(key, int) else key[0]
        return int(closing_time(hour + HOUR, self._allowed))


class _WriteTotal(TotalDoFn, SinkDoFn):
    """Adds up the Parts of a key, and replaces its file with each new total: tuple[K, Part] -> tagged outputs.

    A total is (T or None, number of events once none can follow, of how many events the ids are final).
    """

    def __init__(self, job: StreamJob) -> None:
        self._job, self._clock = job, job.report.clock

    def add(self, total: tuple[Any, int, int] | None, value: Part) -> Any:
        content, last_number, final_ids = total or (None, 0, 0)
        pane, number, ids = value
        if self._has_events(pane):
            content = pane if content is None else self.merge([content, pane])
        elif not number and not ids:
            return total
        return content, last_number + number, final_ids + ids

    def emit(self, key: Any, value: Part, total: tuple[Any, int, int]) -> Iterator[Any]:
        content, pane = total[0], value[0]
        if self._has_events(pane):
            if self.size(content) >= self._events_in_existing_file(key):
                self.write(key, content)
            yield from self.outputs(pane)
        if self.is_final(total):
            yield from self.close(key, content)

    def is_final(self, total: tuple[Any, int, int]) -> bool:
        content, last_number, _ = total
        return content is not None and self.size(content) == last_number

    def _has_events(self, pane: Any) -> bool:
        return pane is not None and self.size(pane) > 0  # the last panes of a window may be empty

    def _events_in_existing_file(self, key: Any) -> int:
        """Events in the file of earlier runs, which stays until they have all been added to the total again."""
        hour, parts = (key, 1) if isinstance(key, int) else (key[0], self._job.id_parts)
        if not self._job.ledger or parts > 1:
            return 0
        return sum(ledger_of(self._job.output).earlier_counts.get(hour, ()))

    def merge(self, values: list[Any]) -> Any:
        raise NotImplementedError

    def size(self, content: Any) -> int:
        """Returns the number of events of a T."""
        raise NotImplementedError

    def write(self, key: Any, content: Any) -> None:
        raise NotImplementedError

    def outputs(self, pane: Any) -> Iterator[Any]:
        yield from ()

    def close(self, key: Any, content: Any) -> Iterator[Any]:
        """Yields the outputs of a final total."""
        raise NotImplementedError

    def put(self, folder: str, name: str, data: bytes, size: int) -> None:
        """Writes a file; size: its number of events."""
        run_state.written[hour_files.write_file(folder, name, self._job.token, data)] = size


class WriteReport(_WriteTotal):
    """Writes reports: tuple[int, Part of HourCounts] -> Counted, under the tag COUNTS."""

    def merge(self, values: list[HourCounts]) -> HourCounts:
        return add_counts(values)

    def size(self, content: HourCounts) -> int:
        return sum(content)

    def is_final(self, total: tuple[Any, int, int]) -> bool:
        return super().is_final(total) and (not self._job.ids_output or total[1] == total[2])

    def write(self, key: int, content: HourCounts) -> None:
        if self._job.ledger and self._job.report.deduplicate:
            ledger_of(self._job.output).record_report(key, content)
        table = scale_impressions(pivot([(key, content)], self._clock), self._job.report.impressions_factor)
        self.put(self._job.output, f"{self._name(key)}.csv", csv_text(table).encode(), sum(content))

    def outputs(self, pane: HourCounts) -> Iterator[Any]:
        yield beam.pvalue.TaggedOutput(COUNTS, count(counted=sum(pane)))

    def close(self, key: int, content: HourCounts) -> Iterator[Any]:
        if self._job.ledger:
            ledger_of(self._job.output).record_report(key, content, is_final=True)
        hour_files.write_file(self._job.output, f"{self._name(key)}.final", self._job.token, b"")
        yield from ()

    def _name(self, hour: int) -> str:
        return hour_files.hour_name(self._clock.label(hour))


class WriteIds(_WriteTotal):
    """Writes the ids of hours: tuple[HourShard, Part of packed ids] -> tuple[int, int], under the tag CLOSED."""

    def merge(self, values: list[bytes]) -> bytes:
        return union(values)

    def size(self, content: bytes) -> int:
        return event_count(content)

    def write(self, key: HourShard, content: bytes) -> None:
        ids, size = merge_packed(content)
        self.put(self._job.ids_output or "", self._name(*key), id_lines(ids), size)

    def close(self, key: HourShard, content: bytes) -> Iterator[Any]:
        yield beam.pvalue.TaggedOutput(CLOSED, (key[0], event_count(content)))

    def _name(self, hour: int, part: int) -> str:
        parts = self._job.id_parts
        which = f"-{part:0{len(str(parts))}}-of-{parts}" if parts > 1 else ""
        return f"{hour_files.hour_name(self._clock.label(hour))}{which}.txt"
