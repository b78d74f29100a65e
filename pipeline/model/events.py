"""Batches: decoded events as columns, with the rejects of their block."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.errors import EventError
from pipeline.native import loader as native
from pipeline.schema import Event, check_event


@dataclasses.dataclass(frozen=True)
class Reject:
    """An invalid record.

    Attributes:
      source: name of the file.
      offset: bytes before the record in the (decompressed) source; None for Parquet.
      index: records before it in the source; None in JSON Lines, where a split cannot know; of a late event, the index
        of its block.
      reason: why it is invalid.
      raw: its first RAW_BYTES bytes as text.
    """

    source: str
    offset: int | None
    index: int | None
    reason: str
    raw: str

    def __str__(self) -> str:
        row = f"row {self.index}: " if self.index is not None else ""
        where = f"byte {self.offset}: " if self.offset is not None else row
        return f"{self.source}: {where}{self.reason}"


class Ids(NamedTuple):
    """Ids as one byte string: id k is data[ends[k - 1]:ends[k]] (ends[-1] counts as 0), UTF-8. int64, uint8."""

    ends: npt.NDArray[np.int64]
    data: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, ids: Iterable[bytes]) -> "Ids":
        """Packs ids."""
        items = list(ids)
        lengths = np.fromiter(map(len, items), dtype=np.int64, count=len(items))
        return cls(np.cumsum(lengths), np.frombuffer(b"".join(items), dtype=np.uint8))

    @classmethod
    def concat(cls, parts: "Sequence[Ids]") -> "Ids":
        """Concatenates ids."""
        starts = np.cumsum([0] + [len(part.data) for part in parts])
        ends = [part.ends + start for part, start in zip(parts, starts, strict=False)]
        data = [part.data for part in parts]
        return cls(np.concatenate([NO_IDS.ends, *ends]), np.concatenate([NO_IDS.data, *data]))

    @property
    def nbytes(self) -> int:
        """Size in memory, in bytes."""
        return self.ends.nbytes + self.data.nbytes

    def slice(self, start: int, stop: int) -> "Ids":
        """Returns the ids from start to stop (exclusive)."""
        first = int(self.ends[start - 1]) if start else 0
        last = int(self.ends[stop - 1]) if stop else 0
        return Ids(self.ends[start:stop] - first, self.data[first:last])

    def select(self, mask: npt.NDArray[np.bool_]) -> "Ids":
        """Returns the ids where mask is true."""
        lengths = np.diff(self.ends, prepend=0)
        return Ids(np.cumsum(lengths[mask]), self.data[np.repeat(mask, lengths)])

    def take(self, order: npt.NDArray[np.int64]) -> "Ids":
        """Returns the ids at these indices, in this order."""
        lengths = np.diff(self.ends, prepend=0)
        ends = np.cumsum(lengths[order])
        if native.should_use("take_ids", ends[-1] if len(ends) else 0):
            out = np.empty(ends[-1], np.uint8)
            native.invoke("take_ids", self.data, self.ends, np.ascontiguousarray(order), len(order), out)
            return Ids(ends, out)
        shifts = (self.ends - lengths)[order] - (ends - lengths[order])
        return Ids(ends, self.data[np.arange(ends[-1] if len(ends) else 0) + np.repeat(shifts, lengths[order])])

    def to_list(self) -> list[bytes]:
        """Returns each id as bytes."""
        data, ends = self.data.tobytes(), self.ends.tolist()
        return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


NO_IDS = Ids(np.empty(0, np.int64), np.empty(0, np.uint8))


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """A decoded block: n valid events as columns, and the invalid records.

    Attributes:
      codes: uint8[n], index into EVENT_TYPES.
      timestamps: int64[n], Unix seconds, UTC.
      ids: n ids in the same order, or NO_IDS where they are not needed.
      rejects: the first invalid records.
      rejected: number of invalid records.
      duplicate: number of events dropped as duplicates.
      read: number of records, counted independently of the decoder; 0 for events counted in another batch.
      coverage_delta: the block's contribution to the coverage checksum of its source.
    """

    codes: npt.NDArray[np.uint8]
    timestamps: npt.NDArray[np.int64]
    ids: Ids
    rejects: tuple[Reject, ...] = ()
    rejected: int = 0
    duplicate: int = 0
    read: int = 0
    coverage_delta: int = 0

    @property
    def nbytes(self) -> int:
        """Size in memory in bytes, without rejects."""
        return self.codes.nbytes + self.timestamps.nbytes + self.ids.nbytes

    def select(self, mask: npt.NDArray[np.bool_]) -> "Batch":
        """Returns the events where mask is true, and all rejects."""
        ids = self.ids.select(mask) if len(self.ids.ends) else NO_IDS
        return dataclasses.replace(self, codes=self.codes[mask], timestamps=self.timestamps[mask], ids=ids)

    @classmethod
    def of(cls, events: Iterable[Event], want_ids: bool = True) -> "Batch":
        """Returns a batch of these events."""
        rows = list(events)
        codes = np.fromiter((row.event for row in rows), dtype=np.uint8, count=len(rows))
        timestamps = np.fromiter((row.timestamp for row in rows), dtype=np.int64, count=len(rows))
        ids = Ids.of(row.id.encode() for row in rows) if want_ids else NO_IDS
        return cls(codes, timestamps, ids, read=len(rows))

    @classmethod
    def concat(cls, parts: "Sequence[Batch]") -> "Batch":
        """Concatenates the events and rejects of batches."""
        return cls(
            np.concatenate([part.codes for part in parts]),
            np.concatenate([part.timestamps for part in parts]),
            Ids.concat([part.ids for part in parts]),
            tuple(reject for part in parts for reject in part.rejects),
            sum(part.rejected for part in parts),
            sum(part.duplicate for part in parts),
            sum(part.read for part in parts),
            sum(part.coverage_delta for part in parts),
        )


def batch_events(records: Iterable[Any]) -> Batch:
    """Returns decoded JSON objects as a batch; EventError names the index of the first invalid one."""
    events = []
    for index, record in enumerate(records):
        try:
            events.append(check_event(record))
        except EventError as error:
            raise EventError(f"event {index}: {error}") from None
    return Batch.of(events)
