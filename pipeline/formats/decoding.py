"""Decodes blocks of bytes to columnar batches and rejects.

Two decoders agree on every byte: the compiled scanner decodes the records that it fully understands, the strict Python
decoder all others, and small blocks as a whole.
"""

import dataclasses
import enum
import re
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.errors import EventError, InputError
from pipeline.formats.strict_json import TOKEN, WHITE_SPACE, NotJsonError, parse
from pipeline.model.events import NO_IDS, Batch, Ids, Reject
from pipeline.native import loader as native
from pipeline.schema import RAW_BYTES, Event, check_event

MANY_REJECTS = 100_000
"""Rejects after which decoding stops, if rejects fail the source (a second of work)."""

_SPANS_AT_A_TIME = 4096

_LINE = re.compile(rb"[^ \t\r\n][^\n]*")


class Shape(enum.IntEnum):
    """The layout of records in a block."""

    LINES = 0  # one per line
    ELEMENTS = 1  # whole elements of a JSON array, separated by commas
    TOO_LONG = 2  # the first bytes of a line longer than blocks.MAX_RECORD_BYTES


Columns = tuple[Batch, int]
"""A batch, and the number of records of its block, counted independently of the decoder."""


class AnyBlock:
    """Consecutive records of a source, not decoded: bytes (Block), Parquet rows, messages, or an error (BrokenBlock).

    Attributes:
      source: its name in rejects.
      arrived: when its file was last written, or its messages were published, in Unix seconds; 0 if unknown.
      offset, index: bytes or records of its source before it, or None.
      coverage_delta: its contribution to the coverage checksum; 0 without that check.
    """

    source: str
    arrived: int
    offset: int | None = None
    index: int | None = None
    coverage_delta: int = 0

    @property
    def nbytes(self) -> int:
        """Size in memory, in bytes."""
        raise NotImplementedError

    @property
    def span(self) -> tuple[int, int]:
        """Its start and end (exclusive) in the source, in bytes or rows."""
        raise NotImplementedError

    def decode(self, want_ids: bool = True, max_rejects: int | None = None) -> Batch:
        """Decodes the block: the valid events as columns, the others as rejects.

        Args:
          want_ids: whether the batch has ids.
          max_rejects: maximum number of rejects to keep. None: all; 0: none. With other values, for callers that fail
            on rejects, decoding stops at MANY_REJECTS.

        Raises:
          InputError: a block of array elements is not JSON. (A bad line of JSON Lines is a reject.)
        """
        batch, records = self._columns(want_ids, max_rejects)
        return dataclasses.replace(batch, read=records, coverage_delta=batch.coverage_delta + self.coverage_delta)

    def _columns(self, want_ids: bool, max_rejects: int | None) -> Columns:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, eq=False)
class Block(AnyBlock):
    """Whole records of JSON, a few MiB. The last byte is a newline, which may be missing in the source.

    Attributes:
      offset: bytes before it in the (decompressed) source.
      index: records before it; 0 in JSON Lines.
      records: their number; None if not counted when the source was cut into blocks.
      prefix_bytes, suffix_bytes: bytes of the source before and after data that belong to no record and to no other
        block; suffix_bytes is -1 if the last newline is not in the source.
    """

    data: bytes | memoryview
    shape: Shape = Shape.LINES
    source: str = "input"
    offset: int = 0
    index: int = 0
    arrived: int = 0
    records: int | None = None
    prefix_bytes: int = 0
    suffix_bytes: int = 0
    coverage_delta: int = 0

    @property
    def nbytes(self) -> int:
        return len(self.data)

    @property
    def span(self) -> tuple[int, int]:
        return self.offset - self.prefix_bytes, self.offset + len(self.data) + self.suffix_bytes

    def _columns(self, want_ids: bool, max_rejects: int | None) -> Columns:
        if self.shape is Shape.TOO_LONG:
            return _with_rejects(Batch.of([]), 1, [_reject(self, 0, len(self.data), None, "line is too long")]), 1
        if native.should_use("scan", len(self.data)):
            return _scan(self, want_ids, max_rejects)
        spans = _lines(bytes(self.data)) if self.shape is Shape.LINES else _elements(self)
        return _parse(self, spans, want_ids, max_rejects), _count(self)

    def __reduce__(self) -> Any:  # a memoryview cannot be pickled
        _, *rest = (getattr(self, field.name) for field in dataclasses.fields(self))
        return Block, (bytes(self.data), *rest)


@dataclasses.dataclass(frozen=True, eq=False)
class BrokenBlock(AnyBlock):
    """The remainder of a source or split that cannot be read, as one reject.

    Attributes:
      reason: the message of the InputError.
      offset: approximate number of bytes before it.
      is_partial: whether the source has other splits, so that coverage is unknown.
      is_retryable: whether a retry may succeed.
    """

    source: str
    reason: str
    arrived: int = 0
    offset: int = 0
    coverage_delta: int = 0
    is_partial: bool = False
    is_retryable: bool = False

    @property
    def nbytes(self) -> int:
        return len(self.reason)

    def _columns(self, want_ids: bool, max_rejects: int | None) -> Columns:
        return _with_rejects(Batch.of([]), 1, [Reject(self.source, self.offset, None, self.reason, "")]), 1


def _count(block: Block) -> int:
    """Counts a block's records independently of the decoders."""
    if block.records is not None:
        return block.records
    return count_lines(block.data) if block.shape is Shape.LINES else last_comma(block.data)[1] + 1


def count_lines(data: bytes | memoryview) -> int:
    """Counts the lines that are not blank. The last byte must be a newline."""
    if not native.should_use("count_lines", len(data)):
        return len(_LINE.findall(data))
    return native.invoke("count_lines", np.frombuffer(data, np.uint8), 1, len(data))


def last_comma(data: bytes | memoryview) -> tuple[int, int, int]:
    """Finds where a JSON array, given without what precedes an element, can be cut.

    Returns:
      The index of the last comma between elements or -1, the number of such commas, the index of the bracket (or brace)
      that ends the array or -1.
    """
    if native.should_use("last_comma", len(data)):
        found = np.empty(2, np.int64)
        cut = native.invoke("last_comma", np.frombuffer(data, np.uint8), len(data), found)
        return cut, *found.tolist()
    *commas, end = _commas(bytes(data))
    return commas[-1] if commas else -1, len(commas), end


def _commas(data: bytes) -> Iterator[int]:
    """Yields the index of each comma between elements, then that of the array's end or -1."""
    depth = 0
    for token in TOKEN.finditer(data):
        mark = data[token.start()]
        if mark in b"[{":
            depth += 1
        elif mark in b"]}":
            depth -= 1
            if depth < 0:
                yield token.start()
                return
        elif mark == 44 and depth == 0:
            yield token.start()
    yield -1


def _scan(block: Block, want_ids: bool, max_rejects: int | None) -> Columns:
    """Decodes a block with the compiled scanner, and with the strict decoder the records that it leaves."""
    data = np.frombuffer(block.data, np.uint8)
    rows = len(data) // 40 + 1  # the shortest event has 43 bytes
    codes, timestamps = np.empty(rows, np.uint8), np.empty(rows, np.int64)
    ends, id_data = np.empty(rows if want_ids else 0, np.int64), np.empty(len(data) if want_ids else 0, np.uint8)
    fallback_spans, found = np.empty((len(data) // 2 + 1, 3), np.int64), np.empty(native.SCRATCH_WORDS, np.int64)
    elements = block.shape is Shape.ELEMENTS
    n = native.invoke(
        "scan", data, len(data), elements, codes, timestamps, want_ids, ends, id_data, fallback_spans, found
    )
    fallback_count, error, lines = found[:3].tolist()
    ids = Ids(ends[:n], id_data[: ends[n - 1] if n else 0]) if want_ids else NO_IDS
    batch = Batch(codes[:n], timestamps[:n], ids)
    if fallback_count:
        spans = _as_spans(fallback_spans[:fallback_count])
        batch = Batch.concat([batch, _parse(block, spans, want_ids, max_rejects)])
    if error >= 0:
        raise InputError(_not_an_element(block, error))
    return batch, _count(block) if elements else lines


Span = tuple[int, int, int]  # start and stop of a record in its block, records before it (in arrays)


def _as_spans(rows: Any) -> Iterator[Span]:
    """Yields rows of an array, converted in chunks: there may be millions."""
    for begin in range(0, len(rows), _SPANS_AT_A_TIME):
        yield from map(tuple, rows[begin : begin + _SPANS_AT_A_TIME].tolist())


def _parse(block: Block, spans: Iterator[Span], want_ids: bool, max_rejects: int | None) -> Batch:
    """Decodes records with the strict decoder."""
    events: list[Event] = []
    rejects: list[Reject] = []
    rejected = 0
    lines = block.shape is Shape.LINES
    for start, stop, before in spans:
        try:
            events.append(check_event(parse(bytes(block.data[start:stop]))))
            continue
        except NotJsonError as error:
            reason = f"not JSON: {error}"
            if not lines:
                raise InputError(f"{block.source}: byte {block.offset + start}: {reason}") from None
        except EventError as error:
            reason = str(error)
        rejected += 1
        if max_rejects is None or len(rejects) < max_rejects:
            rejects.append(_reject(block, start, stop, None if lines else block.index + before, reason))
        elif max_rejects and rejected >= MANY_REJECTS:
            break
    return _with_rejects(Batch.of(events, want_ids), rejected, rejects)


def _with_rejects(batch: Batch, rejected: int, rejects: list[Reject]) -> Batch:
    return dataclasses.replace(batch, rejected=rejected, rejects=tuple(rejects))


def _reject(block: Block, start: int, stop: int, index: int | None, reason: str) -> Reject:
    raw = bytes(block.data[start : min(stop, start + RAW_BYTES)]).decode("utf-8", "backslashreplace")
    return Reject(block.source, block.offset + start, index, sys.intern(reason), raw)  # often the same of all


def _lines(data: bytes) -> Iterator[Span]:
    """Yields the lines that are not blank, stripped of white space."""
    start = 0
    for line in data.split(b"\n"):
        record = line.strip(WHITE_SPACE)
        if record:
            begin = start + line.index(record)
            yield begin, begin + len(record), 0
        start += len(line) + 1


def _elements(block: Block) -> Iterator[Span]:
    """Yields the elements of a small block of array elements."""
    data = bytes(block.data)
    *commas, end = _commas(data)
    if end >= 0:
        raise InputError(_not_an_element(block, end))
    start = 0
    for count, stop in enumerate((*commas, len(data))):
        yield _element(block, start, stop, count)
        start = stop + 1


def _element(block: Block, start: int, stop: int, count: int) -> Span:
    piece = bytes(block.data[start:stop])
    begin = start + len(piece) - len(piece.lstrip(WHITE_SPACE))
    end = start + len(piece.rstrip(WHITE_SPACE))
    if end <= begin:
        raise InputError(_not_an_element(block, min(begin, stop)))
    return begin, end, count


def _not_an_element(block: Block, at: int) -> str:
    place = f"{block.source}: byte {block.offset + at}"
    return f"{place}: not JSON: the array has a missing or stray comma, bracket or value"
