"""The sum of a source's blocks tells whether they are the whole source, whatever their order."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.tally import CoverageChecksum, expected_checksum

CUTS = st.sets(st.integers(1, 99), max_size=9).map(lambda cuts: list(itertools.pairwise([0, *sorted(cuts), 100])))


def added(spans: list[tuple[int, int]], source: str = "a", end: bool = True) -> int:
    """What spans of a source of 100 bytes add up to."""
    checksum = CoverageChecksum(source)
    return sum(checksum.block_delta(*span) for span in spans) + (checksum.end_delta(100) if end else 0)


@given(CUTS, st.randoms())
def test_all_blocks_in_any_order(spans: list[tuple[int, int]], random: st.DrawFn) -> None:
    random.shuffle(spans)  # type: ignore[attr-defined]
    assert added(spans) == expected_checksum(["a"])
    assert added(spans) + added(spans, "b") == expected_checksum(["b", "a"])


@given(CUTS, st.integers(0, 9))
def test_one_less_or_one_twice(spans: list[tuple[int, int]], place: int) -> None:
    one = spans[place % len(spans)]
    assert added([span for span in spans if span != one]) != expected_checksum(["a"])
    assert added([*spans, one]) != expected_checksum(["a"])
    assert added([span if span != one else (one[0], one[1] - 1) for span in spans]) != expected_checksum(["a"])
    assert added([span if span != one else (one[0] + 1, one[1]) for span in spans]) != expected_checksum(["a"])
    assert added(spans, end=False) != expected_checksum(["a"])
    assert added(spans, "b") != expected_checksum(["a"])


def test_nothing_at_all() -> None:
    assert expected_checksum([]) == 0
    assert expected_checksum(["a"]) != 0
    assert CoverageChecksum("a").end_delta(0) == expected_checksum(["a"])


def test_a_source_that_breaks_off() -> None:
    checksum = CoverageChecksum("a")
    assert checksum.block_delta(0, 10) + checksum.block_delta(10, 30) + checksum.end_delta() == expected_checksum(["a"])
    assert CoverageChecksum("a").end_delta() == expected_checksum(["a"])


def test_names_that_are_not_utf_8() -> None:
    assert expected_checksum(["\udce9"]) != expected_checksum(["\udcea"])
