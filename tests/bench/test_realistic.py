"""Realistic records: the events of the other formats among members of all kinds, always the same."""

import json

import pytest

from bench.events import pieces
from bench.realistic import MIXES
from tests.support import decode_source

EVENTS = 3000


def lines(mix: str, events: int = EVENTS) -> list[bytes]:
    return b"".join(pieces(events, mix)).splitlines()


@pytest.mark.parametrize("mix", MIXES)
def test_records_are_events_among_other_members(mix: str) -> None:
    """Some keys are missing in some records, and strings have escapes and non-ASCII characters."""
    written = lines(mix)
    assert decode_source(b"\n".join(written), "strict") == decode_source(b"".join(pieces(EVENTS, "jsonl")), "strict")
    records = [json.loads(line) for line in written]
    assert len({frozenset(record) for record in records}) > 1
    assert {type(value) for record in records for value in record.values()} >= {str, int, dict}
    assert any(b"\\" in line for line in written)
    assert any(not line.isascii() for line in written)


@pytest.mark.parametrize("mix", MIXES)
def test_records_depend_on_the_seed_alone(mix: str) -> None:
    """The same seed gives the same text, and a longer file starts with a shorter one."""
    assert lines(mix, 50) == lines(mix)[:50]
    assert b"".join(pieces(50, mix, seed=1)) != b"".join(pieces(50, mix, seed=2))


def test_only_the_shuffled_mix_changes_the_order_of_keys() -> None:
    for mix in MIXES:
        orders = {tuple(key for key in json.loads(line) if key in ("id", "event", "timestamp")) for line in lines(mix)}
        assert len(orders) == (6 if mix == "realistic-shuffled" else 1)
