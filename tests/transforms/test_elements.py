"""Elements of any PCollection as events: what they may be, what is wrong with the others."""

import json
import typing
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.events import Batch
from pipeline.transforms.decode import decode_elements
from tests import documents, oracle, support
from tests.support import EXAMPLE_EVENTS, event


class EventRow(typing.NamedTuple):
    """A row as a user declares it, with a field more."""

    timestamp: int
    id: str
    event: str
    country: str = "fr"


FORMS: dict[str, Any] = {
    "dict": dict,
    "Row": lambda item: beam.Row(**item),
    "NamedTuple": lambda item: EventRow(**item),
    "str": json.dumps,
    "bytes": lambda item: json.dumps(item).encode(),
    "bytes over lines": lambda item: json.dumps(item, indent=1).encode(),
    "a line with its end": lambda item: json.dumps(item) + "\r\n",
    "with a byte order mark": lambda item: b"\xef\xbb\xbf" + json.dumps(item).encode(),
}
in_each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())


def rows(batch: Batch) -> list[Any]:
    return sorted(support.batch_rows(batch))


def valid(events: Iterable[Any]) -> list[Any]:
    return sorted((item["id"], item["event"], item["timestamp"]) for item in events)


@in_each_form
@pytest.mark.parametrize("count", [6, 6000], ids=["few", "many"])
def test_events_in_each_form(form: Any, count: int) -> None:
    events = [event(f"id-{k}é", oracle.EVENTS[k % 6], 1617393003 + k) for k in range(count)]
    batch, invalid = decode_elements([form(item) for item in events])
    assert (rows(batch), invalid) == (valid(events), [])
    assert (batch.read, batch.rejected) == (count, 0)


@in_each_form
@pytest.mark.parametrize("count", [6, 3000], ids=["few", "many"])
def test_an_invalid_event_among_others_in_each_form(form: Any, count: int) -> None:
    events = [event(f"id-{k}", "video_25", 1617393003 + k) for k in range(count)]
    wrong = form(event("wrong", "video_25", 1617393003000))
    batch, invalid = decode_elements([*map(form, events), wrong, *map(form, events)])
    assert rows(batch) == valid(events * 2)
    assert [error.record for error in invalid] == [wrong]
    assert "milliseconds" in invalid[0].reason
    assert (batch.read, batch.rejected) == (2 * count + 1, 1)


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        ({}, "missing id, event and timestamp"),
        (event(""), "id must not be empty"),
        (event("\ud800"), "id has a lone surrogate"),
        ({**event(), "timestamp": True}, "timestamp must be whole Unix seconds, not a boolean"),
        ({**event(), "timestamp": 1.0}, "timestamp must be whole Unix seconds, not a number with a fraction"),
        ({**event(), "timestamp": -1}, "timestamp must not be negative"),
        (beam.Row(id="a", event="video_25"), "missing timestamp"),
        (EventRow(None, "a", "video_25"), "timestamp must be whole Unix seconds, not null"),  # type: ignore[arg-type]
        (" \n", "not JSON: "),
        (b"[1]", "not an object but an array"),
        ('{"id": "a"', "not JSON: truncated"),
        (b'{"id": "\xff"}', "not JSON: invalid UTF-8"),
        ("\ud800", "not JSON: invalid UTF-8"),
        (json.dumps(event()) * 2, "not JSON: Extra data"),
        (f"{json.dumps(event())}\n{json.dumps(event())}", "not JSON: Extra data"),
        ('{"id": "a", "id": "b", "event": "video_25", "timestamp": 1}', "'id'"),
        (f"\x0b{json.dumps(event())}", "not JSON: "),
        (None, "not an object but null"),
        ((b"key", b"{}"), "not an object but"),
    ],
)
def test_what_is_wrong_with_an_element(element: Any, reason: str) -> None:
    for elements in ([element], [*EXAMPLE_EVENTS, element], [json.dumps(event()), element, json.dumps(event())]):
        batch, invalid = decode_elements(elements)
        assert [error.record for error in invalid] == [element]
        assert reason in invalid[0].reason
        assert (batch.read, len(batch.codes)) == (len(elements), len(elements) - 1)


def test_elements_of_mixed_kinds() -> None:
    batch, invalid = decode_elements([make(item) for make, item in zip(FORMS.values(), EXAMPLE_EVENTS, strict=False)])
    assert (rows(batch), invalid) == (valid(EXAMPLE_EVENTS), [])


@given(documents.LINES | documents.DAMAGED_LINES, st.sampled_from((1, 1, 1, 300)))
def test_a_text_is_an_event_where_the_oracle_has_one(document: bytes, times: int) -> None:
    texts = document.split(b"\n")
    batch, invalid = decode_elements(texts * times)
    wanted = [(text, as_event(text)) for text in texts] * times
    assert rows(batch) == sorted(item for _, item in wanted if item)
    assert [error.record for error in invalid] == [text for text, item in wanted if not item]


def as_event(text: bytes) -> oracle.Event | None:
    try:
        return oracle.as_event(oracle.parse(text.removeprefix(oracle.BOM)))
    except oracle.NotJsonError:
        return None
