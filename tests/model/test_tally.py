"""Counts of what was read: added up, and checked against what was counted."""

import pytest

from pipeline.errors import MismatchError
from pipeline.model.events import Reject
from pipeline.model.tally import Tally, check_counts, explain_rejects, merge_tallies


def test_merging_tallies() -> None:
    assert merge_tallies([]) == Tally()
    assert merge_tallies([Tally(3, 1), Tally(), Tally(4, 2)]) == Tally(7, 3)


def test_check_counts() -> None:
    check_counts(6, 6, 0)
    check_counts(9, 6, 2, 1)
    for read, rejected in ((7, 0), (5, 0), (6, 1)):
        with pytest.raises(MismatchError, match=f"read {read} records but counted 6 and rejected"):
            check_counts(read, 6, rejected)
    with pytest.raises(MismatchError, match="read 9 records but counted 6 and rejected 2 and dropped 2 duplicates"):
        check_counts(9, 6, 2, 2)
    assert merge_tallies([Tally(5, 1, duplicate=2), Tally(1, duplicate=1)]) == Tally(6, 1, duplicate=3)


def test_explaining_rejects() -> None:
    """Where rejects are skipped none is kept to be shown."""
    first = tuple(Reject("a", at, None, "no", "x") for at in (0, 2))
    shown = "a: byte 0: no; a: byte 2: no"
    assert explain_rejects(Tally(9, 2, first)) == f"2 of 9 records rejected: {shown}"
    assert explain_rejects(Tally(9, 5, first)) == f"5 of 9 records rejected: {shown}; and 3 more"
    assert explain_rejects(Tally(9, 5, is_incomplete=True)) == "at least 5 of 9 records rejected"
