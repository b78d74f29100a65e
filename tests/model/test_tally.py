"""Counts of what was read: added up, and checked against what was counted."""

import pytest

from pipeline.errors import MismatchError
from pipeline.model.tally import Tally, check_counts, merge_tallies


def test_the_invariant() -> None:
    check_counts(6, 6, 0)
    check_counts(8, 6, 2)
    for read, rejected in ((7, 0), (5, 0), (6, 1)):
        with pytest.raises(MismatchError, match=f"read {read} records but counted 6 and rejected"):
            check_counts(read, 6, rejected)


def test_merging_tallies() -> None:
    assert merge_tallies([]) == Tally()
    assert merge_tallies([Tally(3, 1), Tally(), Tally(4, 2)]) == Tally(7, 3)


def test_check_counts() -> None:
    check_counts(9, 6, 2, 1)
    with pytest.raises(MismatchError, match="read 9 records but counted 6 and rejected 2 and dropped 2 duplicates"):
        check_counts(9, 6, 2, 2)
    assert merge_tallies([Tally(5, 1, duplicate=2), Tally(1, duplicate=1)]) == Tally(6, 1, duplicate=3)
