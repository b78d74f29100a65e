"""Events for the tests of clouds, and what the oracle makes of them."""

import random
from typing import Any

from tests import oracle
from tests.support import EVENT_TYPES


def events(count: int, seed: int = 1, id_length: int = 1) -> list[dict[str, Any]]:
    """Events of two days, with ids that come again."""
    numbers = random.Random(seed)
    return [
        {
            "id": f"id-{numbers.randrange(count):0{id_length}}",
            "event": numbers.choice(EVENT_TYPES),
            "timestamp": 1617393003 + numbers.randrange(2 * 86400),
        }
        for _ in range(count)
    ]


def report_of(*documents: bytes) -> str:
    return oracle.report(event for document in documents for event in oracle.read(document).events)


def ids_of(*documents: bytes) -> set[str]:
    return oracle.unique_ids(event for document in documents for event in oracle.read(document).events)
