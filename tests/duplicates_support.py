"""What tests of duplicates share."""

from hypothesis import strategies as st

from tests import oracle

Events = list[oracle.Event]

# Few values of each field, and ids that end in what may stand behind an id in a key, so that near misses are common.
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(("a", "b", "a\0", "a\0\0\0\0\0\0", "a\x01", "é", "b" * 30)),
        st.sampled_from(oracle.EVENTS),
        st.sampled_from((0, 1, 6, 3599, 3600, 2**31, oracle.END_OF_TIME - 1)),
    )
)
