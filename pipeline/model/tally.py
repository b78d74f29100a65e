"""The tally of a run: records read and rejected, the first few rejects, and a checksum of the blocks that were read.

The checksum proves that the blocks of a source cover each byte (or row) exactly once. Each block contributes
hash(stop) - hash(start), so contiguous blocks telescope in any order. The reader of the last block also contributes
hash(whole source) - hash(size), so the sum matches only if the source was read to its end.
"""

import dataclasses
import hashlib
import heapq
from collections.abc import Iterable
from typing import NamedTuple

from pipeline.errors import MismatchError, RejectsError
from pipeline.model.events import Batch, Reject

KEPT_REJECTS = 10
"""Number of rejects that an error shows."""

_HASH_BYTES = 5  # a runner's 64-bit counter can sum millions of them
_WHOLE = -1  # stands for the source as a whole, among offsets


class Tally(NamedTuple):
    """Number of records read, rejected and dropped as duplicates.

    Attributes:
      first: the first KEPT_REJECTS rejects by source and offset.
      is_incomplete: reading stopped early, so all numbers are lower bounds.
      coverage: sum of the blocks' contributions to the coverage checksum.
    """

    read: int = 0
    rejected: int = 0
    first: tuple[Reject, ...] = ()
    is_incomplete: bool = False
    duplicate: int = 0
    coverage: int = 0


def tally_batch(batch: Batch) -> Tally:
    """Returns the tally of a batch."""
    first = first_rejects(batch.rejects)
    return Tally(batch.read, batch.rejected, first, duplicate=batch.duplicate, coverage=batch.coverage_delta)


def merge_tallies(tallies: Iterable[Tally]) -> Tally:
    """Adds up tallies."""
    items = list(tallies)
    rejects = (reject for item in items for reject in item.first)
    return Tally(
        sum(t.read for t in items),
        sum(t.rejected for t in items),
        first_rejects(rejects),
        any(t.is_incomplete for t in items),
        sum(t.duplicate for t in items),
        sum(t.coverage for t in items),
    )


def first_rejects(rejects: Iterable[Reject]) -> tuple[Reject, ...]:
    """Returns the first KEPT_REJECTS rejects by source, offset and index."""
    return tuple(heapq.nsmallest(KEPT_REJECTS, rejects, key=lambda r: (r.source, r.offset or 0, r.index or 0)))


def raise_on_rejects(tally: Tally) -> None:
    """Raises RejectsError if there are any."""
    if tally.rejected:
        raise RejectsError(explain_rejects(tally), tally)


def explain_rejects(tally: Tally) -> str:
    """Returns one line with the number of rejected records and the first of them, if any were kept."""
    if not tally.first:
        return format_reject_count(tally)
    more = f"; and {tally.rejected - len(tally.first)} more" if tally.rejected > len(tally.first) else ""
    shown = "; ".join(map(str, tally.first))
    return f"{format_reject_count(tally)}: {shown}{more}"


def format_reject_count(tally: Tally) -> str:
    """Returns the number of rejected and of all records as text."""
    return f"{'at least ' if tally.is_incomplete else ''}{tally.rejected} of {tally.read} records rejected"


def check_counts(read: int, counted: int, rejected: int, duplicate: int = 0) -> None:
    """Raises MismatchError if records were lost or counted twice."""
    if read != counted + rejected + duplicate:
        dropped = f" and dropped {duplicate} duplicates" if duplicate else ""
        raise MismatchError(
            f"read {read} records but counted {counted} and rejected {rejected}{dropped}; please report this bug"
        )


def _hash(source: str, offset: int) -> int:
    """Hashes an offset in a source; collisions have a probability of 2**-40."""
    text = f"{source}\0{offset}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=_HASH_BYTES).digest(), "little")


def expected_checksum(sources: Iterable[str]) -> int:
    """Returns the sum of the contributions of all blocks of these sources."""
    return sum(_hash(source, _WHOLE) - _hash(source, 0) for source in sources)


class CoverageChecksum:
    """Computes the contributions of one reader's blocks of a source."""

    def __init__(self, source: str) -> None:
        self._source, self._last_stop = source, 0

    def block_delta(self, start: int, stop: int) -> int:
        """Returns the contribution of a block from start to stop (exclusive), in bytes or rows."""
        self._last_stop = stop
        return _hash(self._source, stop) - _hash(self._source, start)

    def end_delta(self, size: int | None = None) -> int:
        """Returns the contribution of the source's end, added by whoever reads its last split.

        Args:
          size: size of the source, in bytes or rows; None: the stop of the last block, for a truncated source.
        """
        return _hash(self._source, _WHOLE) - _hash(self._source, self._last_stop if size is None else size)


def check_coverage(found: int, expected: int) -> None:
    """Raises MismatchError if the blocks that were read do not cover the inputs exactly once."""
    if found != expected:
        raise MismatchError("part of the inputs was skipped or read twice; please report this bug")


@dataclasses.dataclass(frozen=True)
class Summary:
    """Counters of a finished run: records read, counted, rejected, late and dropped as duplicates; rows (hours)."""

    read: int
    counted: int
    rejected: int
    hours: int
    late: int = 0
    duplicate: int = 0
