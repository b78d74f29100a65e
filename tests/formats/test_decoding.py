"""Decoding: each shape, and each reason for which a record is refused. All cases with both decoders."""

import io
import json
import pickle
from collections.abc import Iterator

import pytest

from pipeline.errors import InputError
from pipeline.formats.blocks import read_blocks
from pipeline.formats.decoding import Block, Shape
from pipeline.model.events import Batch, Reject
from pipeline.schema import RAW_BYTES
from tests import support
from tests.support import EXAMPLE_EVENTS

GOOD = b'{"id":"a","event":"video_25","timestamp":1}'
EXAMPLE_ROWS = [(item["id"], item["event"], item["timestamp"]) for item in EXAMPLE_EVENTS]


@pytest.fixture(params=support.DECODERS, autouse=True)
def _decoder(request: pytest.FixtureRequest) -> Iterator[None]:
    with support.decoder(request.param):
        yield


def decode_source(data: bytes) -> Batch:
    blocks = list(read_blocks(io.BytesIO(data), "input"))
    return Batch.concat([Batch.of([]), *(block.decode() for block in blocks)])


def only_reject(record: bytes) -> Reject:
    """The reject of a record, the same in JSON Lines and (if it is JSON) in an array."""
    batch = decode_source(GOOD + b"\n" + record + b"\n" + GOOD + b"\n")
    assert len(batch.codes) == 2
    assert batch.rejected == 1
    (reject,) = batch.rejects
    assert reject.offset == len(GOOD) + 1
    assert reject.index is None
    assert reject.source == "input"
    return reject


EXAMPLE_SHAPES = {
    "array": json.dumps(EXAMPLE_EVENTS).encode(),
    "indented array": json.dumps(EXAMPLE_EVENTS, indent=2).encode(),
    "array with space around": b" \n\t\r" + json.dumps(EXAMPLE_EVENTS).encode() + b"\n\n \t",
    "object": json.dumps({"mock_for_test": EXAMPLE_EVENTS}).encode(),
    "indented object": json.dumps({"mock_for_test": EXAMPLE_EVENTS}, indent=4).encode() + b"\n",
    "lines": support.json_lines(EXAMPLE_EVENTS),
    "lines without the last end": support.json_lines(EXAMPLE_EVENTS)[:-1],
    "lines with CRLF": support.json_lines(EXAMPLE_EVENTS).replace(b"\n", b"\r\n"),
    "lines with blank lines": b"\n \n\r\n" + support.json_lines(EXAMPLE_EVENTS).replace(b"\n", b"\n\n \t\r\n"),
    "lines with space around": b"  " + support.json_lines(EXAMPLE_EVENTS).replace(b"\n", b" \t\n\t "),
}


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
@pytest.mark.parametrize("shape", EXAMPLE_SHAPES)
def test_shapes(shape: str, bom: bytes) -> None:
    batch = decode_source(bom + EXAMPLE_SHAPES[shape])
    assert support.batch_rows(batch) == EXAMPLE_ROWS
    assert batch.rejects == ()
    assert batch.read == 6


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b" \r\n\t\n\n",
        b"[]",
        b"[ \n]",
        b'{"mock_for_test":[]}',
        b' {"mock_for_test" : [ ] } ',
        b"\xef\xbb\xbf[]",
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf\n",
    ],
)
def test_nothing_in_it(data: bytes) -> None:
    assert decode_source(data).read == 0


def test_a_byte_order_mark_counts_in_offsets_and_stands_only_at_the_start() -> None:
    batch = decode_source(b"\xef\xbb\xbf" + b"x\n" + b"\xef\xbb\xbf" + GOOD)
    assert [reject.offset for reject in batch.rejects] == [3, 5]


@pytest.mark.parametrize(
    "members",
    [b'"x":1,"x":2', b'"x":[{"y":1,"y":1}]', b'"x":{"id":1,"id":2,"event":"","event":""}', b'"":0,"":0,"\\u0000":0'],
)
def test_a_name_twice_in_what_is_ignored_is_ignored(members: bytes) -> None:
    for record in (GOOD[:-1] + b"," + members + b"}", b"{" + members + b"," + GOOD[1:]):
        for data in (record, b"[" + record + b"]"):
            assert support.batch_rows(decode_source(data)) == [("a", "video_25", 1)]


@pytest.mark.parametrize("data", [b"\0\0\0\0", b'\0\0\0\0{"id":"a"}'])
def test_zeros_of_an_incomplete_file_are_named(data: bytes) -> None:
    assert "NUL bytes, as in an incompletely written file, at character 0" in only_reject(data).reason


NOT_EVENTS = [
    (b"1", "not an object but a number"),
    (b"1.5", "not an object but a number with a fraction or exponent"),
    (b'"a"', "not an object but a string"),
    (b"null", "not an object but null"),
    (b"true", "not an object but a boolean"),
    (b"{}", "missing id, event and timestamp"),
    (b'{"event":"video_25","timestamp":1}', "missing id"),
    (b'{"id":"a","timestamp":1}', "missing event"),
    (b'{"id":"a","event":"video_25"}', "missing timestamp"),
    (b'{"ID":"a","event":"video_25","timestamp":1}', "missing id (names are lower case: id, not ID)"),
    (
        b'{"Id":"a","Event":"video_25","Timestamp":1}',
        "missing id, event and timestamp (names are lower case: id, not Id)",
    ),
    (b'{"id":"","event":"video_25","timestamp":1}', "id must not be empty"),
    (b'{"id":1,"event":"video_25","timestamp":1}', "id must be a string, not a number"),
    (b'{"id":null,"event":"video_25","timestamp":1}', "id must be a string, not null"),
    (b'{"id":["a"],"event":"video_25","timestamp":1}', "id must be a string, not an array"),
    (b'{"id":{},"event":"video_25","timestamp":1}', "id must be a string, not an object"),
    (b'{"id":"a","event":"video_26","timestamp":1}', "unknown event 'video_26'"),
    (b'{"id":"a","event":"Video_25","timestamp":1}', "unknown event 'Video_25'"),
    (b'{"id":"a","event":"","timestamp":1}', "unknown event ''"),
    (b'{"id":"a","event":3,"timestamp":1}', "event must be a string, not a number"),
    (b'{"id":"a","event":null,"timestamp":1}', "event must be a string, not null"),
    (b'{"id":"a","event":"video_25","timestamp":"1"}', "timestamp must be whole Unix seconds, not a string"),
    (b'{"id":"a","event":"video_25","timestamp":true}', "timestamp must be whole Unix seconds, not a boolean"),
    (b'{"id":"a","event":"video_25","timestamp":null}', "timestamp must be whole Unix seconds, not null"),
    (b'{"id":"a","event":"video_25","timestamp":1.0}', "timestamp must be whole Unix seconds, not a number with"),
    (b'{"id":"a","event":"video_25","timestamp":1e3}', "timestamp must be whole Unix seconds, not a number with"),
    (b'{"id":"a","event":"video_25","timestamp":-1}', "timestamp must not be negative"),
    (b'{"id":"a","event":"video_25","timestamp":253402297200}', "timestamp must be below 253402297200 seconds"),
    (b'{"id":"a","event":"video_25","timestamp":1617393003000}', "milliseconds"),
    (b'{"id":"a","event":"video_25","timestamp":' + b"9" * 5000 + b"}", "timestamp must be below 253402297200 seconds"),
    (b'{"id":"a","event":"video_25","timestamp":-' + b"9" * 5000 + b"}", "timestamp must not be negative"),
    (b'{"id":"a","event":"video_25","timestamp":1,"id":"a"}', "duplicate key 'id'"),
    (b'{"id":"a","event":"video_25","timestamp":1,"\\u0069d":"a"}', "duplicate key 'id'"),
    (b'{"id":"a","event":"video_25","timestamp":1,"timestamp":1,"x":[{}]}', "duplicate key 'timestamp'"),
    (b'{"id":{"id":1,"id":2},"event":"video_25","timestamp":1}', "id must be a string, not an object"),
    (b'[{"id":"a","id":"a","event":"video_25","timestamp":1}]', "not an object but an array"),
]

NOT_JSON = [
    b"hello",
    b'{"id":"a","event":"video_25","timestamp":1',
    b'{"id":"a","event":"video_25","timestamp":1,}',
    b'{"id":"a" "event":"video_25","timestamp":1}',
    b'{"id":"a","event":"video_25","timestamp":01}',
    b'{"id":"a","event":"video_25","timestamp":NaN}',
    b'{"id":"a","event":"video_25","timestamp":1,"x":NaN}',
    b'{"id":"a","event":"video_25","timestamp":1} // comment',
    b"{'id':'a','event':'video_25','timestamp':1}",
    b'{"id":"\t","event":"video_25","timestamp":1}',
    b'{"id":"\\ud800","event":"video_25","timestamp":1}',
    b'{"id":"a","event":"video_25","timestamp":1,"\\udfff":0}',
    b'{"id":"\xff","event":"video_25","timestamp":1}',
    b'{"id":"a","event":"video_25","timestamp":1,"x":' + b"[" * 200 + b"]" * 200 + b"}",
    b'{"id":"a","event":"video_25","timestamp":1,"x":' + b"[" * 10000 + b"]" * 10000 + b"}",
    b"[" * 10000,
    GOOD + GOOD,
    GOOD + b",",
    b"\xc2\xa0" + GOOD,
    b"\x0b" + GOOD,
    b'{"id":"a","event":"video_25","timestamp":1,"x":"\\ud800","x":0}',
    b'{"id":"a","event":"video_25","timestamp":1,"x":{"\\ud800":0,"x":1,"x":1}}',
    b'{"id":"\\ud800","id":"a","event":"video_25","timestamp":1}',
]


@pytest.mark.parametrize(("record", "reason"), NOT_EVENTS, ids=lambda value: str(value[:60]))
def test_json_that_is_no_event_is_a_reject_in_every_shape(record: bytes, reason: str) -> None:
    reject = only_reject(record)
    assert reason in reject.reason
    assert reject.raw == record[:RAW_BYTES].decode()
    batch = decode_source(b"[" + GOOD + b", " + record + b" ," + GOOD + b"]")
    assert len(batch.codes) == 2
    assert batch.rejects == (Reject("input", len(GOOD) + 3, 1, reject.reason, reject.raw),)


@pytest.mark.parametrize("record", NOT_JSON, ids=lambda record: repr(record[:70]))
def test_what_is_not_json_is_a_reject_in_lines_and_an_error_in_an_array(record: bytes) -> None:
    assert only_reject(record).reason.startswith("not JSON: ")
    for data in (b"[" + GOOD + b"," + record + b"," + GOOD + b"]", b'{"mock_for_test":[' + record + b"]}"):
        with pytest.raises(InputError, match=r"input: byte \d+: "):
            decode_source(data)


@pytest.mark.parametrize("record", [record for record, _ in NOT_EVENTS] + NOT_JSON, ids=lambda r: repr(r[-40:]))
def test_a_record_at_the_end_of_a_block_is_judged_like_any_other(record: bytes) -> None:
    """Nothing may be read behind it, so fast paths end before it."""
    for before in (b"", GOOD + b"\n"):
        for after in (b"", b"\n", b"\r\n", b"\n" * 4):
            block = Block(before + record + (after or b"\n"))
            batch = block.decode()
            assert (len(batch.codes), [reject.offset for reject in batch.rejects]) == (len(before) // 40, [len(before)])
    if record in [known for known, _ in NOT_EVENTS]:
        batch = Block(GOOD + b"," + record + b"\n", Shape.ELEMENTS).decode()
        assert (len(batch.codes), batch.rejected) == (1, 1)


def test_raw_is_cut_at_one_kilobyte() -> None:
    record = b'{"id":"' + "é".encode() * 2000 + b'"}'
    raw = only_reject(record).raw
    assert raw.startswith('{"id":"éé')
    assert len(raw.encode()) <= RAW_BYTES + 6  # a character cut in two is shown as an escape
    assert len(only_reject(b"x" * 5000).raw) == RAW_BYTES


def test_raw_shows_bytes_that_are_no_text() -> None:
    assert only_reject(b"a\xffb").raw == "a\\xffb"


def test_raw_is_the_record_without_the_space_around() -> None:
    for end in (b"\n", b"\r\n", b" \t\r\n"):
        batch = decode_source(b"  {}" + end + GOOD + end)
        assert [(reject.offset, reject.raw) for reject in batch.rejects] == [(2, "{}")]


def test_max_rejects_bounds_what_is_kept_but_not_what_is_counted() -> None:
    data = (GOOD + b"\nx\n") * 50
    batch = Block(data).decode(max_rejects=3)
    assert (len(batch.codes), batch.rejected, batch.read) == (50, 50, 100)
    assert [reject.offset for reject in batch.rejects] == [44, 90, 136]


def test_a_line_that_is_too_long() -> None:
    batch = Block(b"x" * 2000, Shape.TOO_LONG, "s", 7).decode()
    assert batch.rejects == (Reject("s", 7, None, "line is too long", "x" * RAW_BYTES),)
    assert batch.read == 1


def test_big_records_and_blocks() -> None:
    text = b"\\u0041\xc3\xa9" * 100_000
    big = b'{"id":"%s","x":"%s","event":"video_75","timestamp":5}' % (b"i" * 300_000, text)
    rows = support.batch_rows(decode_source((big + b"\n" + GOOD + b"\n") * 3))
    assert sorted(rows) == sorted([("i" * 300_000, "video_75", 5), ("a", "video_25", 1)] * 3)
    assert sorted(support.batch_rows(decode_source(b"[" + big + b"," + GOOD + b"]"))) == sorted(
        [("i" * 300_000, "video_75", 5), ("a", "video_25", 1)]
    )


def test_a_block_can_be_pickled() -> None:
    block = Block(memoryview(GOOD + b"\n"), Shape.ELEMENTS, "s", 3, 4)
    copy = pickle.loads(pickle.dumps(block))
    assert (bytes(copy.data), copy.shape, copy.source, copy.offset, copy.index) == (GOOD + b"\n", 1, "s", 3, 4)
