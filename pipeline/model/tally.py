"""The tally of a run: how many records were read and rejected, and the first few rejects."""

import dataclasses
import heapq
from collections.abc import Iterable
from typing import NamedTuple

from pipeline.errors import MismatchError, RejectsError
from pipeline.model.events import Batch, Reject

SHOWN = 10
"""How many rejects an error shows."""


class Tally(NamedTuple):
    """read, rejected and duplicate count records; first holds the first SHOWN rejects by source and offset.

    partial: reading was given up, so there may be more of all. balance: of the blocks, as coverage.py has it.
    """

    read: int = 0
    rejected: int = 0
    first: tuple[Reject, ...] = ()
    partial: bool = False
    duplicate: int = 0
    balance: int = 0


def tally_batch(batch: Batch) -> Tally:
    """A batch's tally."""
    first = first_rejects(batch.rejects)
    return Tally(batch.read, batch.rejected, first, duplicate=batch.duplicate, balance=batch.balance)


def merge_tallies(tallies: Iterable[Tally]) -> Tally:
    """The sum of tallies."""
    items = list(tallies)
    rejects = (reject for item in items for reject in item.first)
    return Tally(
        sum(t.read for t in items),
        sum(t.rejected for t in items),
        first_rejects(rejects),
        any(t.partial for t in items),
        sum(t.duplicate for t in items),
        sum(t.balance for t in items),
    )


def first_rejects(rejects: Iterable[Reject]) -> tuple[Reject, ...]:
    """The first SHOWN rejects by source and place."""
    return tuple(heapq.nsmallest(SHOWN, rejects, key=lambda r: (r.source, r.offset or 0, r.index or 0)))


def refuse_rejects(tally: Tally) -> None:
    """Raises RejectsError if there are any."""
    if tally.rejected:
        raise RejectsError(explain_rejects(tally), tally)


def explain_rejects(tally: Tally) -> str:
    """One line that says how many records were rejected, and shows the first of them, if any were kept."""
    if not tally.first:
        return count_rejects(tally)
    more = f"; and {tally.rejected - len(tally.first)} more" if tally.rejected > len(tally.first) else ""
    shown = "; ".join(map(str, tally.first))
    return f"{count_rejects(tally)}: {shown}{more}"


def count_rejects(tally: Tally) -> str:
    """How many records were rejected, of how many."""
    return f"{'at least ' if tally.partial else ''}{tally.rejected} of {tally.read} records rejected"


def check_counts(read: int, counted: int, rejected: int, duplicate: int = 0) -> None:
    """Raises MismatchError where records were lost or counted twice."""
    if read != counted + rejected + duplicate:
        dropped = f" and dropped {duplicate} duplicates" if duplicate else ""
        raise MismatchError(
            f"read {read} records but counted {counted} and rejected {rejected}{dropped}: please report this"
        )


def check_balance(found: int, expected: int) -> None:
    """Raises MismatchError where the blocks that were read do not add up to the inputs."""
    if found != expected:
        raise MismatchError(
            "the blocks that were read do not add up to the inputs: something was left out or read twice; "
            "please report this"
        )


@dataclasses.dataclass(frozen=True)
class Summary:
    """The counters of a finished run: records read, counted, rejected, late and dropped as duplicates; hours: rows."""

    read: int
    counted: int
    rejected: int
    hours: int
    late: int = 0
    duplicate: int = 0
