"""Names of time zones and UTC offsets: what is accepted, and the advice for what is not."""

from unittest import mock

import pytest

from pipeline.errors import UsageError, ZoneError
from pipeline.model.hours import HourClock, check_time_zone, inverted_zone_warning, parse_utc_offset, zone_names
from pipeline.model.table import hourly_table

PARTIAL = {
    "Africa/Monrovia": "+00:00",
    "America/Caracas": "-04:00",
    "Asia/Kathmandu": "+05:45",
    "Asia/Singapore": "+08:00",
    "Asia/Tehran": "+03:30",
    "Australia/Lord_Howe": "+10:30",
}
"""Zones whose offsets are not whole hours apart, with their offset in July 2026."""


def spelled(error: UsageError) -> str:
    return str(error.spelled("--{} {}".format)) if isinstance(error, ZoneError) else str(error)


@pytest.mark.parametrize("text", ["+01:00", "-01:00", "+00:00", "+05:30", "-18:00", "+18:00", "+00:59"])
def test_offsets(text: str) -> None:
    sign = -1 if text[0] == "-" else 1
    assert parse_utc_offset(text) == sign * (int(text[1:3]) * 3600 + int(text[4:]) * 60)


@pytest.mark.parametrize(
    "text",
    [*("", "1", "01:00", "+1:00", "+01", "+0100", "+01:60", "+18:01", "+19:00", "+24:00", "+01:00:00", "UTC", "Z"),
     *("Europe/Berlin", " +01:00", "+01:00\n", "++1:00", "+-1:00", "+\u0660\u0661:00")],
)  # fmt: skip
def test_bad_offsets(text: str) -> None:
    with pytest.raises(UsageError, match="UTC offset"):
        parse_utc_offset(text)
    with pytest.raises(UsageError):
        hourly_table([], text)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("1", "--utc_offset +01:00"),
        ("01:00", "--utc_offset +01:00"),
        ("-0330", "--utc_offset -03:30"),
        ("UTC+5:30", "--utc_offset +05:30"),
        ("Z", "--utc_offset +00:00"),
        ("Europe/Berlin", "--time_zone Europe/Berlin"),
        ("UTC", "--time_zone UTC"),
    ],
)
def test_advice_for_an_offset_of_another_form(text: str, advice: str) -> None:
    with pytest.raises(ZoneError) as error:
        parse_utc_offset(text)
    assert spelled(error.value).endswith(f" is not of the form +01:00, up to 18:00: use {advice}")


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        *((name, "+01:00") for name in ("GMT+1", "UTC+1", "GMT+01:00", "+01:00", "gmt+1", "utc+01", "GMT 1", "+0100")),
        *((name, "-03:00") for name in ("GMT-3", "UTC-03:00", "utc - 3", "-3", "UTC\N{MINUS SIGN}3")),
        ("UTC+5:30", "+05:30"),
        ("UTC+14", "+14:00"),
        ("Z", "+00:00"),
        ("z", "+00:00"),
    ],
)
def test_an_offset_as_a_time_zone_is_refused_with_the_offset_to_use(name: str, offset: str) -> None:
    with pytest.raises(ZoneError) as error:
        HourClock.parse(None, name)
    assert spelled(error.value) == f"unknown time zone {name!r}: use --utc_offset {offset}"
    assert str(error.value) == f"unknown time zone {name!r}: use utc_offset={offset}"
    assert parse_utc_offset(offset) is not None


@pytest.mark.parametrize("name", ["UTC", "GMT", "EST", "GMT+0", "GMT0", "Zulu", "Etc/GMT+1", "EST5EDT"])
def test_names_of_the_database_that_look_like_offsets_are_accepted(name: str) -> None:
    assert HourClock.parse(None, name).zone == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Europe/Pariss", "; did you mean Europe/Paris?"),
        ("paris", "; did you mean Europe/Paris?"),
        ("europe/paris", "; did you mean Europe/Paris?"),
        ("New York", "; did you mean America/New_York?"),
        ("est", "; did you mean EST?"),
        ("utc", "; did you mean UTC?"),
        ("", "; use a name of the IANA database"),
        ("../../etc/passwd", "; use a name of the IANA database"),
        ("CEST", "; use a name of the IANA database"),
        ("GMT+25", ""),
    ],
)
def test_unknown_zones(name: str, reason: str) -> None:
    with pytest.raises(UsageError) as error:
        check_time_zone(name)
    assert str(error.value).startswith(f"unknown time zone {name!r}{reason}")


@pytest.mark.parametrize(
    "name",
    [f"{prefix}{sign}{hours}" for prefix in ("GMT", "gmt", "Etc/GMT", "etc/gmt", "UTC", "Etc/UTC", "GTM", "GMT/", "T")
     for sign in ("+", "-", "") for hours in (1, 3, 12, 13, 15, "01:00", "5.5", "x")] + ["x" * 10_000],
)  # fmt: skip
def test_no_message_suggests_a_zone_of_inverted_sign(name: str) -> None:
    if name in zone_names():
        return
    with pytest.raises(UsageError) as error:
        check_time_zone(name)
    assert "Etc/" not in spelled(error.value).replace(repr(name), "")
    assert len(spelled(error.value)) < 200


def test_a_zone_of_inverted_sign_is_warned_of_with_its_offset() -> None:
    assert inverted_zone_warning("Etc/GMT+1") == "time zone Etc/GMT+1 has the UTC offset -01:00: its sign is inverted"
    assert inverted_zone_warning("Etc/GMT-14") == "time zone Etc/GMT-14 has the UTC offset +14:00: its sign is inverted"
    for name in (None, "Etc/UTC", "Etc/GMT", "GMT", "EST", "Europe/Paris"):
        assert inverted_zone_warning(name) is None


@pytest.mark.parametrize("name", PARTIAL)
def test_zones_of_offsets_that_are_not_whole_hours_apart_are_refused_with_the_offset_of_today(name: str) -> None:
    with mock.patch("time.time", return_value=1_783_000_000.0), pytest.raises(ZoneError) as error:
        HourClock.parse(None, name)
    assert f"time zone {name}: its offsets since 1970 differ by less than whole hours (" in str(error.value)
    assert spelled(error.value).endswith(f", today {PARTIAL[name]}: use --utc_offset {PARTIAL[name]}")
    with pytest.raises(ZoneError):
        hourly_table([], time_zone=name)
