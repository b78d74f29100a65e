"""Unique ids per hour: against plain Python, in any order."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.events import Batch
from pipeline.model.ids import ids_by_hour, merge_packed, union
from pipeline.schema import Event
from tests import support

FAR = st.integers(65_534, 65_538).map(lambda hours: hours * 3600)  # about 2**16 hours: numbers of 16 bits end there
TIMES = st.integers(0, 20_000) | FAR
EVENTS = st.lists(st.tuples(st.sampled_from(["a", "b", "é", "c\n", "d" * 200]), TIMES), max_size=30)
OFFSETS = st.sampled_from([3600, 0, 19800, -12600])


def batch(events: list[tuple[str, int]]) -> Batch:
    return Batch.of([Event(name, 0, timestamp) for name, timestamp in events])


def ids_of(piece: bytes) -> set[bytes]:
    """The ids of a piece, which has each once."""
    ids = merge_packed(piece)[0].to_list()
    assert len(ids) == len(set(ids))
    return set(ids)


@given(EVENTS, OFFSETS)
def test_ids_by_hour(events: list[tuple[str, int]], offset: int) -> None:
    wanted: dict[int, set[bytes]] = {}
    for name, timestamp in events:
        hour = (timestamp + offset) // 3600 * 3600 - offset
        wanted.setdefault(hour, set()).add(name.encode())
    found = list(ids_by_hour(batch(events), support.clock(offset)))
    assert [hour for (hour, _), _ in found] == sorted(wanted)
    assert {hour: ids_of(piece) for (hour, _), piece in found} == wanted
    assert sum(merge_packed(piece)[1] for _, piece in found) == len(events)


def test_ids_by_hour_of_many_events() -> None:
    events = [(f"id-{k % 5000}", k) for k in range(20_000)]
    found = {hour: ids_of(piece) for (hour, _), piece in ids_by_hour(batch(events), support.clock(0))}
    assert found == {
        h * 3600: {f"id-{k % 5000}".encode() for k in range(h * 3600, min(h * 3600 + 3600, 20_000))} for h in range(6)
    }


@given(st.lists(EVENTS, max_size=4))
def test_the_union_of_sets(parts: list[list[tuple[str, int]]]) -> None:
    pieces = [piece for part in parts for _, piece in ids_by_hour(batch(part), support.clock(0))]
    assert ids_of(union(pieces)) == {name.encode() for part in parts for name, _ in part}
    assert merge_packed(union(pieces))[1] == sum(map(len, parts))
