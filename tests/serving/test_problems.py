"""Problems: what a client is told of rejects and of broken bodies."""

import gzip
from typing import Any

import pytest
import zstandard

from tests.serving_support import EVENT, call

BAD_RECORDS = {
    "unknown event": ('{"id": "a", "event": "click", "timestamp": 1}', "unknown event 'click'"),
    "huge": ('{"id": "a", "event": "video_25", "timestamp": %s}' % ("9" * 5000), "must be below"),
    "twice": ('{"id": "a", "id": "b", "event": "video_25", "timestamp": 1}', "duplicate key 'id'"),
    "not an object": ("[1]", "not an object but an array"),
}


@pytest.mark.parametrize(("record", "reason"), BAD_RECORDS.values(), ids=BAD_RECORDS)
@pytest.mark.parametrize("lines", [True, False], ids=["lines", "array"])
def test_reject(app: Any, record: str, reason: str, lines: bool) -> None:
    body = f"{EVENT}\n\n{record}\n{EVENT}\n" if lines else f"[{EVENT}, {record}, {EVENT}]"
    problem = call(app, body.encode()).problem
    assert (problem["status"], problem["read"], problem["rejected"]) == (400, 3, 1)
    (reject,) = problem["rejects"]
    assert reject["index"] == 1
    assert reject["offset"] == body.index(record)
    assert reject["line"] == (3 if lines else None)
    assert reject["raw"] == record[:1024]
    assert reason in reject["reason"]


@pytest.mark.parametrize("encoding", ["", "gzip", "zstd"])
def test_rejects_of_any_encoding_have_their_places(app: Any, encoding: str) -> None:
    bad = ["x" * 3000, '{"id": "\u00e9"}', "", "   ", "null"]
    body = "\ufeff\r\n" + "".join(f"{line}\r\n{EVENT}\n" for line in bad)
    data = {"": bytes, "gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}[encoding](body.encode())
    rejects = call(app, data, **({"HTTP_CONTENT_ENCODING": encoding} if encoding else {})).problem["rejects"]
    assert [(reject["line"], reject["index"], reject["raw"]) for reject in rejects] == [
        (2, 0, "x" * 1024),
        (4, 2, '{"id": "\u00e9"}'),
        (10, 6, "null"),
    ]
    assert [reject["offset"] for reject in rejects] == [body.encode().index(bad[k].encode()) for k in (0, 1, 4)]


@pytest.mark.parametrize("body", [f"[{EVENT},", "[" * 10_000 + "]" * 10_000], ids=["truncated", "deep"])
def test_broken_array(app: Any, body: str) -> None:
    problem = call(app, body.encode()).problem
    assert problem["status"] == 400
    assert "body: byte" in problem["detail"]


def test_millions_of_rejects_are_given_up(app: Any) -> None:
    problem = call(app, b"x\n" * 1_000_000).problem
    assert problem["complete"] is False
    assert problem["rejected"] == 100_000
    assert problem["detail"].startswith("at least 100000 of ")
    assert [reject["index"] for reject in problem["rejects"]] == list(range(10))
