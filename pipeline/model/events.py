"""What an event is: its schema, its checks, and the columnar batch that everything after decoding works on."""

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
    """A record that is not an event.

    source: the file's name. offset: bytes before the record in the (decompressed) source, None for Parquet. index:
    records before it in the source, None in JSON Lines (a split cannot know); a late event has those of its block. raw:
    its first RAW_BYTES bytes as text.
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
        """Packs single ids."""
        items = list(ids)
        lengths = np.fromiter(map(len, items), dtype=np.int64, count=len(items))
        return cls(np.cumsum(lengths), np.frombuffer(b"".join(items), dtype=np.uint8))

    @classmethod
    def concat(cls, parts: "Sequence[Ids]") -> "Ids":
        """All ids of the parts, in order."""
        starts = np.cumsum([0] + [len(part.data) for part in parts])
        ends = [part.ends + start for part, start in zip(parts, starts, strict=False)]
        data = [part.data for part in parts]
        return cls(np.concatenate([NO_IDS.ends, *ends]), np.concatenate([NO_IDS.data, *data]))

    @property
    def nbytes(self) -> int:
        """Bytes of memory they take."""
        return self.ends.nbytes + self.data.nbytes

    def slice(self, start: int, stop: int) -> "Ids":
        """The ids start to stop (stop not included)."""
        first = int(self.ends[start - 1]) if start else 0
        last = int(self.ends[stop - 1]) if stop else 0
        return Ids(self.ends[start:stop] - first, self.data[first:last])

    def select(self, mask: npt.NDArray[np.bool_]) -> "Ids":
        """The ids where mask is true."""
        lengths = np.diff(self.ends, prepend=0)
        return Ids(np.cumsum(lengths[mask]), self.data[np.repeat(mask, lengths)])

    def take(self, order: npt.NDArray[np.int64]) -> "Ids":
        """The ids at these places (0 to n - 1), in this order."""
        lengths = np.diff(self.ends, prepend=0)
        ends = np.cumsum(lengths[order])
        if native.worth_compiling("take_ids", ends[-1] if len(ends) else 0):
            out = np.empty(ends[-1], np.uint8)
            native.invoke("take_ids", self.data, self.ends, np.ascontiguousarray(order), len(order), out)
            return Ids(ends, out)
        shifts = (self.ends - lengths)[order] - (ends - lengths[order])
        return Ids(ends, self.data[np.arange(ends[-1] if len(ends) else 0) + np.repeat(shifts, lengths[order])])

    def to_list(self) -> list[bytes]:
        """Each id as bytes."""
        data, ends = self.data.tobytes(), self.ends.tolist()
        return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


NO_IDS = Ids(np.empty(0, np.int64), np.empty(0, np.uint8))


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """A decoded block: n valid events as columns, and the invalid records.

    codes: uint8[n], index into EVENT_TYPES. timestamps: int64[n], Unix seconds, UTC. ids: n ids in the same order, or
    NO_IDS where they are not needed. rejected: how many records are invalid; rejects may hold only the first of them.
    duplicate: how many events were dropped as duplicates. read: how many records the block has, counted by another way
    than the one that made the columns; 0 in a batch of other blocks' events. balance: what the block adds to its
    source, as coverage.py has it.
    """

    codes: npt.NDArray[np.uint8]
    timestamps: npt.NDArray[np.int64]
    ids: Ids
    rejects: tuple[Reject, ...] = ()
    rejected: int = 0
    duplicate: int = 0
    read: int = 0
    balance: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of memory it takes, rejects aside."""
        return self.codes.nbytes + self.timestamps.nbytes + self.ids.nbytes

    def select(self, mask: npt.NDArray[np.bool_]) -> "Batch":
        """The events where mask is true, and all rejects."""
        ids = self.ids.select(mask) if len(self.ids.ends) else NO_IDS
        return dataclasses.replace(self, codes=self.codes[mask], timestamps=self.timestamps[mask], ids=ids)

    @classmethod
    def of(cls, events: Iterable[Event], want_ids: bool = True) -> "Batch":
        """A batch of single events."""
        rows = list(events)
        codes = np.fromiter((row.event for row in rows), dtype=np.uint8, count=len(rows))
        timestamps = np.fromiter((row.timestamp for row in rows), dtype=np.int64, count=len(rows))
        ids = Ids.of(row.id.encode() for row in rows) if want_ids else NO_IDS
        return cls(codes, timestamps, ids, read=len(rows))

    @classmethod
    def concat(cls, parts: "Sequence[Batch]") -> "Batch":
        """All rows and rejects of the parts, in order."""
        return cls(
            np.concatenate([part.codes for part in parts]),
            np.concatenate([part.timestamps for part in parts]),
            Ids.concat([part.ids for part in parts]),
            tuple(reject for part in parts for reject in part.rejects),
            sum(part.rejected for part in parts),
            sum(part.duplicate for part in parts),
            sum(part.read for part in parts),
            sum(part.balance for part in parts),
        )


def batch_events(records: Iterable[Any]) -> Batch:
    """Decoded JSON objects as one batch; EventError names the index of the first that is not an event."""
    events = []
    for index, record in enumerate(records):
        try:
            events.append(check_event(record))
        except EventError as error:
            raise EventError(f"event {index}: {error}") from None
    return Batch.of(events)
