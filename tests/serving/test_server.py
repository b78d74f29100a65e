"""The HTTP trigger in process, through wsgiref.validate."""

import gzip
import json
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model import table
from tests.serving_support import EVENT, SAMPLE, assert_no_internals, call, call_loosely
from tests.support import HEADER


def test_more_hours_than_a_report_may_have(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MAX_HOURS", 2)
    answer = call(app, SAMPLE)
    assert answer.status == 400
    assert answer.problem["detail"].startswith(
        "the events fall into more than 2 different hours, the limit for a report"
    )


@pytest.mark.parametrize("body", ["", "[]", '{"mock_for_test": []}', "\n\n"])
def test_no_events(app: Any, body: str) -> None:
    answer = call(app, body.encode())
    assert (answer.status, answer.body.decode()) == (200, HEADER)
    assert json.loads(answer.headers["X-Report-Summary"]) == {"read": 0, "counted": 0, "rejected": 0, "hours": 0}


RECORD = st.sampled_from([EVENT, "{}", "[", "1", '"\u00e9"', "", " ", "\x00", '{"id": 1}', EVENT[:-1]])
RECORDS = st.lists(RECORD, max_size=6)
BODIES = st.one_of(
    st.binary(max_size=200),
    RECORDS.map(lambda records: "\n".join(records).encode()),
    RECORDS.map(lambda records: f"[{','.join(records)}]".encode()),
    RECORDS.map(lambda records: gzip.compress("\n".join(records).encode())),
    RECORDS.map(lambda records: zstandard.ZstdCompressor().compress("\n".join(records).encode())),
)
LATIN = st.text(st.characters(max_codepoint=255), max_size=10)  # as WSGI has it
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "HTTP_CONTENT_ENCODING": st.sampled_from(["gzip", "zstd", "identity", "br", "gzip, gzip", "\xe9", ""]),
        "CONTENT_LENGTH": st.one_of(st.integers(-1, 300).map(str), LATIN),
        "CONTENT_TYPE": LATIN,
        "HTTP_AUTHORIZATION": LATIN,
        "QUERY_STRING": st.one_of(LATIN, st.sampled_from(["time_zone=UTC", "rejects=skip&x", "deduplicate=true"])),
    },
)


@given(
    body=BODIES,
    headers=HEADERS,
    method=st.sampled_from(["POST", "POST", "POST", "GET", "HEAD", "OPTIONS", "PUT", "\xe9"]),
    path=st.one_of(st.just("/"), LATIN.map(lambda text: "/" + text)),
)
def test_fuzz(app: Any, body: bytes, headers: dict[str, str], method: str, path: str) -> None:
    """Whatever a client sends: a report, or a problem that is the client's."""
    answer = call_loosely(app, body=body, method=method, path=path, **headers)
    assert answer.status < 500
    if answer.status >= 400 and method != "HEAD":
        assert answer.problem
    assert_no_internals(str(answer.headers))
