"""Decodes blocks, and elements with one event each, into batches of events and rejects."""

import dataclasses
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.transforms.window import BoundedWindow, GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.engine.coders import typed
from pipeline.engine.metrics import counter
from pipeline.engine.threads import ListDoFn, ThreadedDoFn
from pipeline.errors import EventError
from pipeline.formats.decoding import MANY_REJECTS, AnyBlock, Block
from pipeline.formats.strict_json import WHITE_SPACE, NotJsonError, parse
from pipeline.model.events import Batch, Ids, Reject
from pipeline.model.tally import KEPT_REJECTS, Tally, merge_tallies, raise_on_rejects, tally_batch
from pipeline.schema import EVENT_CODES, FIELDS, MAX_TIMESTAMP, Event, check_event

REJECTS = "rejects"
"""Tag of the side output of DecodeBlocks."""

ERRORS = "errors"

_SMALL = 4096  # bytes: switching threads took a tenth of a report of six events


class _DecodeBlocks(ThreadedDoFn):
    def __init__(self, want_ids: bool, max_rejects: int | None, fail_at: int | None) -> None:
        super().__init__()
        self._want_ids, self._max_rejects, self._fail_at = want_ids, max_rejects, fail_at
        self._read, self._rejected = counter("read"), counter("rejected")

    def work(self, block: AnyBlock) -> Batch:
        return block.decode(self._want_ids, self._max_rejects)

    def is_small(self, block: AnyBlock) -> bool:
        return isinstance(block, Block) and len(block.data) <= _SMALL

    def start_bundle(self) -> None:
        super().start_bundle()
        self._tally = Tally()

    def emit(self, batch: Batch) -> Iterator[Any]:
        if batch.rejected and self._fail_at is not None:
            self._fail_at_many(batch)
        self._read.inc(batch.read)
        self._rejected.inc(batch.rejected)
        if batch.rejects:
            yield beam.pvalue.TaggedOutput(REJECTS, batch.rejects)
        yield batch

    def _fail_at_many(self, batch: Batch) -> None:
        self._tally = merge_tallies([self._tally, tally_batch(batch)])
        if self._tally.rejected >= self._fail_at:  # type: ignore[operator]
            raise_on_rejects(self._tally._replace(is_incomplete=True))


@dataclasses.dataclass
class DecodeBlocks(beam.PTransform):  # type: ignore[misc]
    """Decodes blocks: PCollection[AnyBlock] -> a dict of PCollections.

    batches (main): Batch, the valid events. REJECTS: tuple[Reject, ...], of one block (all with keep_rejects, none with
    skip_rejects, else the first few). Raises InputError if a source as a whole cannot be read, and RejectsError if a
    bundle has more rejects than are useful in an error, or with skip_rejects max_skipped or more.
    """

    want_ids: bool = True
    keep_rejects: bool = True
    skip_rejects: bool = False
    max_skipped: int | None = None

    def expand(self, blocks: beam.PCollection[AnyBlock]) -> Any:
        decode = beam.ParDo(_DecodeBlocks(self.want_ids, *self._limits()))
        outputs = blocks | "Decode" >> decode.with_outputs(REJECTS, main="batches")
        outputs.batches.element_type = Batch
        outputs[REJECTS].element_type = tuple[Reject, ...]
        return outputs

    def _limits(self) -> tuple[int | None, int | None]:
        """Returns how many rejects of a block to keep, and how many of a bundle are an error; None: no limit."""
        if self.keep_rejects:
            return None, None
        return (0, self.max_skipped) if self.skip_rejects else (KEPT_REJECTS, MANY_REJECTS)


class InvalidEvent(NamedTuple):
    """An element that is not an event.

    Attributes:
      record: the element itself.
      reason: why it is invalid.
    """

    record: Any
    reason: str


def decode_elements(elements: Sequence[Any]) -> tuple[Batch, list[InvalidEvent]]:
    """Decodes elements that hold one event each.

    Args:
      elements: mappings, or objects with the fields of an event as attributes, or JSON as str or as UTF-8 bytes.

    Returns:
      The valid events, in any order, and the invalid elements. The batch counts all elements as read.
    """
    batch, rest = _decode_together(elements)
    events, invalid = [], []
    for element in rest:
        try:
            events.append(_decode_one(element))
        except EventError as error:
            invalid.append(InvalidEvent(element, str(error)))
    if events:
        batch = Batch.concat([batch, Batch.of(events)])
    return dataclasses.replace(batch, read=len(elements), rejected=len(invalid)), invalid


def _decode_together(elements: Sequence[Any]) -> tuple[Batch, Iterable[Any]]:
    """Decodes by columns, in a tenth of the time, and returns the elements that need to be decoded one by one."""
    kinds = set(map(type, elements))
    if kinds <= {str, bytes}:
        return _decode_texts(elements)
    try:
        return _as_batch(
            *(list(map((itemgetter if kinds == {dict} else attrgetter)(name), elements)) for name in FIELDS)
        ), ()
    except (AttributeError, LookupError, TypeError, ValueError):
        return Batch.of([]), elements


def _as_batch(ids: list[Any], events: list[Any], timestamps: list[Any]) -> Batch:
    """Converts columns of plain events to a batch. Raises LookupError, TypeError or ValueError if one is not plain."""
    if set(map(type, ids)) != {str} or not all(ids) or set(map(type, timestamps)) != {int}:
        raise ValueError
    if min(timestamps) < 0 or max(timestamps) >= MAX_TIMESTAMP:
        raise ValueError
    codes = np.frombuffer(bytes(map(EVENT_CODES.__getitem__, events)), np.uint8)
    return Batch(codes, np.array(timestamps, np.int64), Ids.of(map(str.encode, ids)))


def _decode_texts(texts: Sequence[str | bytes]) -> tuple[Batch, Iterable[Any]]:
    """Decodes texts as JSON Lines, and returns those that are not on one line or are invalid."""
    lines = [_as_bytes(text).strip(WHITE_SPACE) for text in texts]
    data = b"\n".join([*lines, b""])
    if data.count(b"\n") > len(lines) or not all(lines):
        data = b"".join(line + b"\n" if line and b"\n" not in line else b"?\n" for line in lines)
    batch = Block(data).decode()
    if not batch.rejects:
        return batch, ()
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    rest = np.searchsorted(ends, [reject.offset or 0 for reject in batch.rejects]).tolist()
    return dataclasses.replace(batch, rejects=()), (texts[k] for k in rest)


def _as_bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def _decode_one(element: Any) -> Event:
    if isinstance(element, str | bytes):
        try:
            return check_event(parse(_as_bytes(element).removeprefix(BOM_UTF8)))
        except NotJsonError as error:
            raise EventError(f"not JSON: {error}") from None
    if isinstance(element, Mapping):
        return check_event(element)
    fields = {name: getattr(element, name) for name in FIELDS if hasattr(element, name)}
    return check_event(fields if fields or hasattr(element, "_asdict") else element)


_BATCH_EVENTS = 4096  # minimum, except at the end of a bundle


class _BatchEvents(beam.DoFn):  # type: ignore[misc]
    """Batches the elements of a window, or of a timestamp in the global window, so that a WindowInto may follow."""

    def __init__(self) -> None:
        self._read, self._rejected = counter("read"), counter("rejected")

    def start_bundle(self) -> None:
        self._pending: dict[Any, list[Any]] = {}
        self._count = 0

    def process(
        self, element: Any, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        return self.process_list((element,), timestamp, window)

    def process_list(self, elements: Sequence[Any], timestamp: Any, window: Any) -> Iterator[Any]:
        key = timestamp if isinstance(window, GlobalWindow) else window
        self._pending.setdefault(key, []).extend(elements)
        self._count += len(elements)
        return self.finish_bundle() if self._count >= _BATCH_EVENTS else iter(())

    def finish_bundle(self) -> Iterator[Any]:
        pending = self._pending
        self.start_bundle()
        for key, elements in pending.items():
            in_window = isinstance(key, BoundedWindow)
            timestamp, windows = (key.max_timestamp(), (key,)) if in_window else (key, (GlobalWindow(),))
            batch, invalid = decode_elements(elements)
            self._read.inc(batch.read)
            self._rejected.inc(batch.rejected)
            yield WindowedValue(batch, timestamp, windows)
            for error in invalid:
                yield beam.pvalue.TaggedOutput(ERRORS, WindowedValue(error, timestamp, windows))


class _BatchLists(_BatchEvents, ListDoFn):
    """_BatchEvents for unwindowed elements, of which most have the same timestamp."""


class BatchEvents(beam.PTransform):  # type: ignore[misc]
    """Decodes elements that hold one event each: PCollection[Any] -> PCollection[Batch].

    An element is a mapping or a row (NamedTuple, beam.Row) with the fields id, event and timestamp, or JSON as str or
    bytes. Invalid elements are in a second output:

        batches = messages | BatchEvents()
        batches.errors | ...    # PCollection[InvalidEvent], each with its record and the reason

    A batch has events of one window, and in the global window of one timestamp. So apply windows to a stream before, of
    a few seconds or more.
    """

    def expand(self, events: beam.PCollection[Any]) -> beam.PCollection[Batch]:
        decode = _BatchLists() if events.windowing.is_default() else _BatchEvents()
        outputs = events | "Batch" >> beam.ParDo(decode).with_outputs(ERRORS, main="batches")
        batches = typed(outputs.batches, Batch)
        batches.errors = typed(outputs[ERRORS], InvalidEvent)
        return batches  # type: ignore[no-any-return]
