"""Messages of a topic: whatever they hold, decoded many at a time as each would be alone."""

import json
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.formats import messages
from pipeline.formats.messages import Message, MessageBlock, decode_messages, group_messages
from pipeline.model.events import Batch, Reject
from tests import documents, oracle, support
from tests.support import event, json_lines, line

A = ("a", "impressions", 1617393003)
PRETTY = json.dumps(event(), indent=2).encode()


def decode(*datas: bytes) -> Batch:
    return decode_messages([Message(f"message {k}", data, 0) for k, data in enumerate(datas)])


def rejects(batch: Batch) -> list[tuple[str, int | None, int | None]]:
    return [(reject.source, reject.offset, reject.index) for reject in batch.rejects]


@pytest.mark.parametrize(
    "data",
    [
        line(),
        b"\xef\xbb\xbf" + line(),
        b" \r\n" + line() + b"\n\n",
        PRETTY,
        b"\xef\xbb\xbf" + PRETTY.replace(b"\n", b"\r\n"),
        b"[" + line() + b"]",
        b"\xef\xbb\xbf\n [\n" + PRETTY + b"\n]\n",
        b'{"mock_for_test": [' + line() + b"]}",
        b" " * 100_000 + b"[" + line() + b"]",
    ],
)
def test_a_message_with_one_event(data: bytes) -> None:
    batch = decode(data)
    assert (support.batch_rows(batch), batch.read, batch.rejects) == ([A], 1, ())


@pytest.mark.parametrize("data", [b"", b"\n", b" \r\n\t", b"\xef\xbb\xbf", b"[]", b" [ ] ", b'{"mock_for_test": []}'])
def test_a_message_without_events(data: bytes) -> None:
    assert decode(data).read == 0
    assert support.batch_rows(decode(line(), data, line("b"))) == [A, ("b", *A[1:])]


@pytest.mark.parametrize("data", [b"[" + line() + b",]", b"[" + line(), b"[1] 2", b"[\xff]", b'{"mock_for_test": [1]'])
def test_a_broken_array_is_one_reject(data: bytes) -> None:
    batch = decode(line(), data, line("b"))
    assert support.batch_rows(batch) == [A, ("b", *A[1:])]
    assert batch.read == 3
    assert rejects(batch) == [("message 1", 0, None)]
    assert batch.rejects[0].reason.startswith("message 1: ")


def test_rejects_have_the_name_of_their_message_and_their_place_in_it() -> None:
    batch = decode(b"x", b"", line() + b"\n {}\n" + line("b"), b"[1, " + line() + b', "x"]', b"\xef\xbb\xbf{}", b"[")
    assert sorted(rejects(batch), key=str) == [
        ("message 0", 0, None),
        ("message 2", len(line()) + 2, None),
        ("message 3", 1, 0),
        ("message 3", 6 + len(line()), 2),
        ("message 4", 3, None),
        ("message 5", 0, None),
    ]
    assert batch.read == len(batch.rejects) + 3


def test_an_object_on_several_lines_is_one_reject() -> None:
    twice = b'{\n"id": "a",\n"id": "a"}'
    batch = decode(PRETTY.replace(b"impressions", b"impression"), twice)
    assert rejects(batch) == [("message 0", 0, None), ("message 1", 0, None)]
    assert "unknown event" in batch.rejects[0].reason
    assert "duplicate key" in batch.rejects[1].reason


def test_a_message_that_breaks_off_does_not_run_into_the_next() -> None:
    batch = decode(line()[:-10], line()[-10:], b'{"id": "', b'"}')
    assert batch.read == 4
    assert rejects(batch) == [(f"message {k}", 0, None) for k in range(4)]


def test_ids_are_left_out_where_nobody_wants_them() -> None:
    batch = decode_messages([Message("m", line() + b"\n[", 0), Message("n", b"[" + line() + b"]", 0)], want_ids=False)
    assert (len(batch.codes), len(batch.ids.ends), batch.rejected) == (2, 0, 1)


def expected(data: bytes) -> tuple[list[oracle.Event], int]:
    """The events of one message, and how many records are none."""
    start = len(oracle.BOM) if data.startswith(oracle.BOM) else 0
    if b"\n" in data.strip():
        try:
            found = oracle.as_event(oracle.parse(data[start:]))
        except oracle.NotJsonError:
            pass
        else:
            if not data[start:].lstrip(oracle.SPACE).startswith(b"[") and b'"mock_for_test"' not in data:
                return ([found], 0) if found else ([], 1)
    try:
        document = oracle.read(data)
    except oracle.BrokenError:
        return [], 1
    return document.events, len(document.rejects)


def arbitrary_message(events: list[dict[str, object]], random: Random) -> bytes:
    """Events in one of the shapes, at times with a byte changed or cut off."""
    shapes = [
        json.dumps(events).encode(),
        json.dumps({"mock_for_test": events}, indent=1).encode(),
        json_lines(events),
        b"\r\n \n".join(json.dumps(item, ensure_ascii=False).encode() for item in events),
        json.dumps(events[0], indent=2, ensure_ascii=False).encode() if events else b"\n",
    ]
    data = (b"\xef\xbb\xbf" if random.random() < 0.2 else b"") + random.choice(shapes)
    if random.random() < 0.3 and data:
        at = random.randrange(len(data))
        data = random.choice([data[:at], data[:at] + b"\x00" + data[at + 1 :], data[:at] + b"\n" + data[at:]])
    return data


@pytest.mark.parametrize("name", support.DECODERS)
@settings(max_examples=30)
@given(st.lists(st.lists(documents.events(), max_size=4), max_size=6), documents.SEEDS)
@example(messages=[[], [event()]], seed=0)
def test_messages_are_decoded_as_the_oracle_reads_each(
    name: str, messages: list[list[dict[str, object]]], seed: int
) -> None:
    datas = [arbitrary_message(events, Random(seed + k)) for k, events in enumerate(messages)]
    with support.decoder(name):
        batch = decode(*datas)
    wanted = [expected(data) for data in datas]
    assert sorted(support.batch_rows(batch)) == sorted(row for events, _ in wanted for row in events)
    assert batch.rejected == len(batch.rejects)
    counts = [sum(reject.source == f"message {k}" for reject in batch.rejects) for k in range(len(datas))]
    assert counts == [number for _, number in wanted]
    assert all(_is_at_its_place(reject, datas) for reject in batch.rejects)


def _is_at_its_place(reject: Reject, datas: Sequence[bytes]) -> bool:
    data = datas[int(reject.source.split()[1])]
    raw = reject.raw.encode().replace(b"\n", b" ")[:4]
    return not raw.isascii() or "\\" in reject.raw or data[reject.offset :].replace(b"\n", b" ").startswith(raw)


def test_messages_are_grouped_by_the_minute_of_their_arrival() -> None:
    times = [3600, 3541, 3601, 3660, 3661, 0]
    blocks = group_messages([Message(f"message {time}", b"", time) for time in times])
    assert [(block.arrived, [message.arrived for message in block.messages]) for block in blocks] == [
        (-59, [0]),
        (3541, [3600, 3541]),
        (3601, [3601, 3660]),
        (3661, [3661]),
    ]
    assert [block.source for block in blocks] == [
        "message 0",
        "message 3600 and 1 more",
        "message 3601 and 1 more",
        "message 3661",
    ]


@pytest.mark.parametrize("fault", ["_decode_lines", "_decode_array"])
def test_messages_are_counted_by_themselves(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    datas = [line(), b"[" + line() + b"," + line() + b"]", b"[", b"", line() + b"\n" + line(), PRETTY]
    block = MessageBlock(tuple(Message(f"m{k}", data, 0) for k, data in enumerate(datas)))
    batch = block.decode(True, None)
    assert (batch.coverage_delta, batch.read, len(batch.codes), batch.rejected) == (0, 7, 6, 1)
    monkeypatch.setattr(messages, fault, lambda *_: Batch.of([]))
    assert block.decode(True, None).coverage_delta < 0
