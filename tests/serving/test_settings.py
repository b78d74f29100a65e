"""What a request may set: checked as by the command line, with the server's options as defaults."""

import gzip
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from pipeline import __version__
from pipeline.cli.options import parse_options
from pipeline.cli.server import parse_settings
from pipeline.errors import UsageError
from pipeline.model.hours import zone_names
from pipeline.model.settings import DEFAULT_REPORT, PARAMETERS
from pipeline.serving import Settings
from pipeline.serving.request import report_settings
from tests import oracle
from tests.serving_support import REPORT, ROWS, SAMPLE, Answer, ask, build_app, call
from tests.support import ROOT

AUTUMN = [("a", "impressions", 1635638400 + second) for second in (-1, 0, 3599, 3600, 7199, 7200)]


def lines(rows: list[tuple[str, str, int]]) -> bytes:
    return "".join(
        json.dumps(dict(zip(("id", "event", "timestamp"), row, strict=True))) + "\n" for row in rows
    ).encode()


def summary(answer: Answer) -> Any:
    return json.loads(answer.headers["X-Report-Summary"])


@pytest.mark.parametrize(("offset", "minutes"), [("+05:30", 330), ("-03:30", -210), ("+00:00", 0), ("+18:00", 1080)])
def test_utc_offset(app: Any, offset: str, minutes: int) -> None:
    assert ask(app, utc_offset=offset).body.decode() == oracle.report(ROWS, minutes)


@pytest.mark.parametrize("zone", ["Europe/Paris", "Asia/Kolkata", "America/St_Johns", "UTC"])
def test_time_zone(app: Any, zone: str) -> None:
    assert ask(app, lines(AUTUMN), time_zone=zone).body.decode() == oracle.report(AUTUMN, zone)


def test_impressions_factor(app: Any) -> None:
    body = lines(AUTUMN * 3)
    assert ask(app, body, impressions_factor="0.35").body.decode() == oracle.report(AUTUMN * 3, factor="0.35")


def test_deduplicate(app: Any) -> None:
    for events in (ROWS, AUTUMN, ROWS):  # the same graph again: nothing of the last body is left in it
        answer = ask(app, lines(events * 3), deduplicate="true")
        assert answer.body.decode() == oracle.report(events)
        count = len(events)
        assert {**summary(answer), "hours": 0} == {
            "read": 3 * count, "counted": count, "rejected": 0, "hours": 0, "duplicate": 2 * count
        }  # fmt: skip


def test_rejects_are_skipped(app: Any) -> None:
    body = b"x\n" + lines(ROWS) + b"[]\n"
    answer = ask(app, body, rejects="skip")
    assert (answer.status, answer.body.decode()) == (200, REPORT)
    assert summary(answer) == {"read": 8, "counted": 6, "rejected": 2, "hours": 3}
    assert ask(app, body, rejects="refuse").problem["rejected"] == 2


def test_more_rejects_are_skipped_than_shown(app: Any) -> None:
    """Where they refuse the body, reading ends at 100,000."""
    answer = ask(app, b"x\n" * 150_000 + lines(ROWS), rejects="skip")
    assert summary(answer) == {"read": 150_006, "counted": 6, "rejected": 150_000, "hours": 3}


@pytest.mark.parametrize(
    "body", [b"x\n" * 10**6, gzip.compress(b"[" + b"1," * 999_999 + b"1]")], ids=["lines", "array"]
)
def test_a_million_rejects_are_not_skipped(app: Any, body: bytes) -> None:
    """A small body of millions would hold a slot for minutes."""
    problem = ask(app, body, rejects="skip").problem
    assert (problem["status"], problem["rejected"], problem["complete"]) == (400, 10**6, False)
    assert problem["detail"] == "at least 1000000 of 1000000 records rejected, too many to skip"
    assert len(problem["rejects"]) == 10


def test_a_broken_array_is_not_skipped(app: Any) -> None:
    assert ask(app, SAMPLE[:-3], rejects="skip").problem["status"] == 400


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("utc_offset=%2B1", "UTC offset '+1' is not of the form +01:00"),
        ("utc_offset=+01:00", "encode + as %2B"),
        ("utc_offset=", "UTC offset ''"),
        ("time_zone=Europe/Pariss", "did you mean Europe/Paris?"),
        ("time_zone=..%2F..%2Fetc%2Fpasswd", "unknown time zone"),
        ("time_zone=UTC&utc_offset=%2B01:00", "mutually exclusive"),
        ("impressions_factor=-1", "not a plain decimal number"),
        ("deduplicate=yes", "deduplicate must be true or false, not 'yes'"),
        ("deduplicate", "deduplicate must be true or false, not ''"),
        ("rejects=keep", "rejects must be skip or refuse, not 'keep'"),
        ("rejects_output=x", "unknown parameter 'rejects_output': must be one of utc_offset, time_zone"),
        ("time_zone=UTC&time_zone=UTC", "duplicate parameter 'time_zone'"),
        ("=", "unknown parameter ''"),
        ("time_zone=%FF%00", "unknown time zone"),
        ("utc_offset=" + "x" * 5000, "UTC offset 'xxx"),
        ("impressions_factor=" + "1" * 5000, "factor '111"),
        ("x" * 5000, "unknown parameter 'xxx"),
    ],
)  # fmt: skip
def test_bad_parameters(app: Any, query: str, reason: str) -> None:
    problem = call(app, SAMPLE, QUERY_STRING=query).problem
    assert problem["status"] == 400
    assert reason in problem["detail"]
    assert len(problem["detail"]) < 300


def reason_of(check: Any) -> str | None:
    """What a check refuses, without its advice, which is spelled as the value is given."""
    try:
        check()
    except UsageError as error:
        return re.sub(": use .*", "", str(error))
    return None


@pytest.mark.parametrize("name", ["utc_offset", "time_zone", "impressions_factor"])
@pytest.mark.parametrize("value", ["+05:30", "-18:00", "+25:00", "UTC", "utc", "Asia/Kolkata", "0.1", "1,5", ""])
def test_checks_are_those_of_the_command_line(name: str, value: str) -> None:
    arguments = ["--input", "x", f"--{name}={value}"]
    expected = reason_of(lambda: parse_options(arguments))
    assert reason_of(lambda: report_settings(DEFAULT_REPORT, f"{name}={quote(value)}")) == expected
    assert (expected is None) == (
        (name == "utc_offset" and value in ("+05:30", "-18:00"))
        or (name == "time_zone" and value in zone_names())
        or (name == "impressions_factor" and value == "0.1")
    )


def test_openapi_describes_this_version_and_its_parameters() -> None:
    api = json.loads((ROOT / "pipeline/serving/openapi.json").read_text())
    assert api["info"]["version"] == __version__
    described = api["paths"]["/"]["post"]["parameters"]
    assert tuple(parameter["name"] for parameter in described) == PARAMETERS
    for parameter in described:
        values = [example["value"] for example in parameter["examples"].values()] + parameter["schema"].get("enum", [])
        for value in values:
            assert report_settings(DEFAULT_REPORT, urlencode({parameter["name"]: value}))


def test_options_of_the_server_are_the_defaults(tmp_path: Path) -> None:
    arguments = ["--time_zone", "Asia/Kolkata", "--impressions_factor", "2", "--skip_rejects", "--deduplicate"]
    app = build_app(tmp_path, parse_settings(arguments))
    body = b"x\n" + lines(AUTUMN * 2)
    assert call(app, body).body.decode() == oracle.report(AUTUMN, "Asia/Kolkata", "2")
    answer = ask(app, body, utc_offset="+01:00", deduplicate="false")
    assert answer.body.decode() == oracle.report(AUTUMN * 2, factor="2")
    assert ask(app, body, rejects="refuse").problem["rejected"] == 1


def test_defaults_said_aloud_need_no_graph_of_their_own() -> None:
    query = "utc_offset=%2B01:00&impressions_factor=0.1&deduplicate=false&rejects=refuse"
    assert report_settings(DEFAULT_REPORT, query) == report_settings(DEFAULT_REPORT, "") == Settings().report


@pytest.mark.parametrize("query", ["time_zone=GMT%2B1", "time_zone=GMT+1", "time_zone=UTC%2B01:00", "time_zone=%2B01"])
def test_an_offset_as_a_time_zone_names_the_parameter_to_use(query: str) -> None:
    with pytest.raises(UsageError, match=r"^unknown time zone '.*': use utc_offset=%2B01:00$"):
        report_settings(DEFAULT_REPORT, query)
