"""The compiled sort of ids: each once, in order, also where many have the same hash."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.events import Ids
from pipeline.model.ids import IdSet, hash_id
from pipeline.native.loader import MAX_PROBES
from tests import support
from tests.model.test_ids import in_order, with_one_hash

ITEMS = st.lists(
    st.binary(min_size=1, max_size=20) | st.sampled_from((b"a", b"b", b"c" * 127, b"d" * 128, b"e" * 20_000))
)


def check(items: list[bytes]) -> None:
    with support.decoder("compiled"):
        found = IdSet.of(Ids.of(items))
    assert found.ids.to_list() == in_order(items)
    assert found.hashes.tolist() == [hash_id(item) for item in in_order(items)]
    assert found.event_hashes.tolist() == [hash_id(item) for item in items]


@given(ITEMS)
def test_a_set_has_each_id_once_in_order(items: list[bytes]) -> None:
    check(items)


def test_different_ids_of_one_hash_are_ordered_by_their_bytes() -> None:
    for count in (2, MAX_PROBES, MAX_PROBES + 1, 200):
        check([b"a", *reversed(with_one_hash(count)), b"b"])


def test_many_ids_of_one_hash_lose_none_and_repeat_none() -> None:
    check([*with_one_hash(200), *with_one_hash(100), *(b"id-%d" % k for k in range(5000))] * 2)
