"""The page in a real browser against a real server.

CHROMIUM names the browser, /usr/bin/chromium by default.
"""

import csv
import gzip
import itertools
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.integration.page_support import (
    APRIL,
    EVENT_TYPES,
    REPORT,
    ROOT,
    SAMPLE,
    STEPS,
    answer,
    as_shown,
    colour,
    event,
    expect_problem,
    expect_report,
    figures,
    funnel,
    hours_of,
    make_sample,
    month,
    parquet,
    points,
    report,
    show,
    table,
    texts,
    upload,
    violations,
    write_hour,
)
from tests.serving_support import running

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FAILED_RESOURCE = "Failed to load resource"  # what Chromium itself logs for an answer of 400 and above
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("server") / "tmp") as server:
        yield server.address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert Path(CHROMIUM).exists(), f"{CHROMIUM} is missing: install chromium, or set CHROMIUM"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Open]:
    """Opens the page; afterwards nothing may have gone wrong in its console, and nothing may have been blocked."""
    contexts, complaints = [], []

    def open_at(url: str = address, **options: Any) -> Page:
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **options}
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.add_init_script(
            "addEventListener('securitypolicyviolation', event => console.error('blocked', event.violatedDirective))"
        )
        page.goto(url)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert [text for text in complaints if not text.startswith(FAILED_RESOURCE)] == []


@pytest.fixture
def page(open_page: Open) -> Page:
    return open_page()


# ---- What is sent


def test_choose_a_file_and_download_its_report(page: Page, tmp_path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Choose files").click()
    chooser.value.set_files(SAMPLE)
    expect_report(page, "6", "3")
    assert table(page) == as_shown(REPORT.read_text())
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    assert download.value.suggested_filename == "events.csv"
    assert Path(download.value.path()).read_bytes() == REPORT.read_bytes()


def test_what_was_chosen_last_is_made(page: Page) -> None:
    """By the button, by Control+Enter in the text, and by Enter in a field of the options."""
    make = page.get_by_role("button", name="Make report")
    make.click()
    expect(page.locator("#status")).to_have_text("Paste some events first, or choose a file.")
    expect(page.get_by_label("Or paste events")).to_be_focused()
    upload(page, b"[")
    expect_problem(page, "This could not be read")
    upload(page, SAMPLE.read_bytes(), name="events.json")  # the same name again, after a correction
    expect_report(page, "6", "3")
    page.get_by_label("Or paste events").fill(event("video_25", APRIL).decode())
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="Report of the pasted text")).to_be_visible()
    make_sample(page)
    page.get_by_label("Impressions scaled by").fill("1")
    page.get_by_label("Impressions scaled by").press("Enter")
    expect(page.locator("#figures")).to_contain_text("1,208.0")
    expect(page.get_by_role("heading", name="Report of the sample")).to_be_visible()
    page.get_by_label("Or paste events").fill("")
    expect(page.locator("#chosen")).to_contain_text("Chosen: the sample")


def test_options_that_differ_are_marked(page: Page) -> None:
    data = event("impressions", 1617393003) + b"nonsense\n" + event("impressions", 1617393003) * 2
    expect(page.get_by_label("Time zone")).to_have_value("+01:00")
    page.get_by_label("Time zone").fill("Europe/Paris")
    page.get_by_label("Impressions scaled by").fill("0.25")
    page.get_by_label("Leave out invalid records").check()
    with page.expect_request(lambda request: request.method == "POST") as request:
        upload(page, data)
    assert request.value.url.endswith("?time_zone=Europe%2FParis&impressions_factor=0.25&rejects=skip")
    expect(page.locator("[data-key=rejected]")).to_have_text("1")
    expect(page.locator("#rows tr")).to_contain_text(re.compile("^2021-04-02 21:003000000.75"))
    expect(page.locator(".differs")).to_have_count(0)
    page.get_by_label("Time zone").fill("+05:30")
    page.get_by_label("Count duplicates once").check()
    expect(page.locator(".differs")).to_have_count(2)
    expect(page.locator("#differs")).to_have_text("Marked options differ from the report below.")
    page.get_by_role("button", name="Make report").click()
    expect(page.locator("#rows tr")).to_contain_text("2021-04-03 01:00")
    expect(page.locator(".differs")).to_have_count(0)
    page.get_by_label("Time zone").fill("Europe/Pari")
    page.get_by_role("button", name="Make report").click()
    expect_problem(page, "This option does not work")


def test_several_files_are_added_up(page: Page, address: str) -> None:
    parts = [month(30), month(50), gzip.compress(month(40))]
    upload(page, *parts)
    whole = b"".join(parts[:2]) + month(40)
    expect_report(page, f"{whole.count(b'timestamp'):,}", "50")
    with urllib.request.urlopen(address, whole) as response:
        assert table(page) == as_shown(response.read().decode())
    upload(page, month(30), b"nonsense")
    expect_problem(page, "Some records are not events")
    expect(page.locator("#problem-detail")).to_contain_text("1events.jsonl: ")
    page.get_by_label("Count duplicates once").check()
    upload(page, month(30), month(50))
    expect_problem(page, "Use the command line for these files")
    expect(page.locator("#problem-command")).to_have_text("python -m pipeline 'FOLDER/*' --deduplicate")


def test_a_dropped_folder(page: Page, tmp_path: Path) -> None:
    files = {"a.jsonl": month(3), "deep/b.jsonl": month(5), "_SUCCESS": b"", ".hidden/c.jsonl": b"x", "a.crc": b"x"}
    for name, data in files.items():
        (tmp_path / "events" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "events" / name).write_bytes(data)
    box = page.locator("#drop").bounding_box()
    assert box is not None
    data = {"items": [], "files": [str(tmp_path / "events")], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        place = {"type": kind, "x": box["x"] + 50, "y": box["y"] + 50, "data": data}
        page.context.new_cdp_session(page).send("Input.dispatchDragEvent", place)
    expect_report(page, "21", "5")
    expect(page.get_by_role("heading", name="Report of events")).to_be_visible()


def test_a_report_is_shown_again(page: Page) -> None:
    page.on("request", lambda request: pytest.fail("sent") if request.method == "POST" else None)
    show(page, REPORT.read_text(), "report.csv")
    assert table(page) == as_shown(REPORT.read_text())
    upload(page, gzip.compress(REPORT.read_bytes()), name="packed.csv.gz")
    expect(page.get_by_role("heading", name="Report of packed.csv.gz")).to_be_visible()
    upload(page, REPORT.read_text(), REPORT.read_text(), name="hour.csv")
    expect(page.locator("#totals")).to_contain_text("Total0262020.0")
    upload(page, REPORT.read_text()[:-30], name="cut.csv")
    expect_problem(page, "This cannot be shown as a report")
    upload(page, REPORT.read_text(), REPORT.read_text().replace("22:00:00+01:00", "23:00:00+02:00"))
    expect_problem(page, "This cannot be shown as a report")


PACKED = [
    (month(100), "gzip", "1,210"),  # by the browser
    (SAMPLE.read_bytes(), None, "6"),  # too small to gain anything
    (gzip.compress(SAMPLE.read_bytes()), "gzip", "6"),
    (pa.compress(SAMPLE.read_bytes(), "zstd", asbytes=True), "zstd", "6"),
    (parquet(), None, "6"),
]


@pytest.mark.parametrize(("data", "encoding", "read"), PACKED)
def test_uploads_are_compressed(page: Page, data: bytes, encoding: str | None, read: str) -> None:
    with page.expect_request(lambda request: request.method == "POST") as request:
        upload(page, data, name="events")
    assert request.value.headers.get("content-encoding") == encoding
    expect_report(page, read, "3" if read == "6" else "100")


def test_progress_and_cancel(page: Page) -> None:
    make_sample(page)
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 100_000}
    network.send("Network.emulateNetworkConditions", slow)
    upload(page, gzip.compress(os.urandom(2_000_000)))
    expect(page.locator("#status")).to_have_text("Sending events.jsonl \N{HORIZONTAL ELLIPSIS}")
    expect(page.get_by_text("% of 1.9 MiB")).to_have_text(re.compile(r"^[1-9]\d?% "), timeout=30_000)
    assert 0 < page.get_by_role("progressbar").evaluate("bar => bar.value") < 1
    page.get_by_role("button", name="Cancel").focus()
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_have_text("Cancelled.")
    expect(page.get_by_role("button", name="Make report")).to_be_focused()
    expect(page.get_by_role("progressbar")).to_be_hidden()
    expect(page.get_by_role("heading", name="Report of the sample")).to_be_visible()


# ---- What goes wrong


@pytest.mark.parametrize(
    ("line", "mark"),
    [
        ('{"id": "a", "event": "click", "timestamp": 1}', "click"),
        ('{"id": 5, "event": "video_25", "timestamp": 1}', '"id": 5'),
        ('{"id": "a", "event": "video_25"}', '{"id": "a", "event": "video_25"}'),
        ('{"id": "a", "event": "<img src=x onerror=alert(1)>", "timestamp": 1}', "<img src=x onerror=alert(1)>"),
    ],
)
def test_rejects_with_their_line_and_the_text_marked(page: Page, line: str, mark: str) -> None:
    upload(page, event("video_25", 1) + b"\n" + line.encode() + b"\n" + b"nonsense\n" * 24)
    expect_problem(page, "Some records are not events")
    rows = page.locator("#rejects tr")
    expect(rows).to_have_count(10)
    expect(rows.first.locator("td").first).to_have_text("3")
    expect(rows.first.locator("td").last).to_have_text(line)
    expect(rows.first.locator("mark")).to_have_text(mark)
    expect(page.get_by_text("And 15 more.")).to_be_visible()
    expect(page.get_by_role("button", name="Send again")).to_be_hidden()


@pytest.mark.parametrize(
    ("status", "body", "title", "words"),
    [
        (413, '{"detail": "the detail"}', "This is too large", "smaller parts"),
        (415, "", "The server does not read this compression", "compressed with gzip"),
        (500, "null", "The server failed", "Try it again later"),
        (502, "<html>Bad gateway</html>", "The server failed", "Try it again later"),
        (503, "[]", "The server is busy", "in 7 s."),
        (418, '{"detail": "a teapot", "rejects": 5}', "The server answered with status 418", "a teapot"),
        (200, "<html>Please sign in</html>", "The server answered with status 200", ""),
    ],
)
def test_refusals_in_words(page: Page, status: int, body: str, title: str, words: str) -> None:
    answer(page, status, body, **{"Retry-After": "7"})
    page.get_by_role("button", name="Try the sample").click()
    expect_problem(page, title)
    expect(page.get_by_role("alert")).to_contain_text(words)
    page.unroute_all()
    if status >= 500:
        page.get_by_role("button", name="Send again").click()
        expect_report(page, "4,425", "24")


def test_too_large(open_page: Open, tmp_path: Path) -> None:
    with running(tmp_path / "tmp", "--max_body_bytes", "1000") as server:
        page = open_page(server.address)
        expect(page.get_by_text("up to 1,000 bytes (also when unpacked)")).to_be_visible()
        upload(page, gzip.compress(b" " * 9000))
        expect_problem(page, "This is too large")
        page.on("request", lambda request: pytest.fail("sent"))
        upload(page, month(30))
        expect(page.get_by_role("alert")).to_contain_text("the limit of this server is 1,000 bytes")


def test_token(open_page: Open, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("right")
    with running(tmp_path / "tmp", "--token_file", str(tmp_path / "token")) as server:
        page = open_page(server.address)
        page.get_by_role("button", name="Try the sample").click()
        expect_problem(page, "This server asks for a token")
        token = page.get_by_role("textbox", name="Token")
        expect(token).to_be_focused()
        for typed, title in (
            ("wrong", "The server does not accept this token"),
            ("\N{SNOWMAN}", "This token cannot be sent"),
        ):
            token.fill(typed)
            page.keyboard.press("Enter")
            expect_problem(page, title)
        token.fill("right")
        page.keyboard.press("Enter")
        expect_report(page, "4,425", "24")
        assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


# ---- Figures and funnel


def test_funnel(page: Page) -> None:
    show(page, report(hours_of("2021-04-01", 3), STEPS.__getitem__))
    assert list(figures(page).items())[:6] == [
        ("Impressions", "60"),
        ("View rate", "83.3% | of impressions"),
        ("Reached 25%", "96% | of starts"),
        ("Reached 50%", "92% | of starts"),
        ("Reached 75%", "68% | of starts"),
        ("Completion rate", "68% | of starts"),
    ]
    assert funnel(page) == [
        "Impressions 60 100% of impressions",
        "Started 50 83.3% of impressions 16.7% lost",
        "Reached 25% 48 80% of impressions 4% lost",
        "Reached 50% 46 76.7% of impressions 4.2% lost",
        "Reached 75% 34 56.7% of impressions 26.1% lost",
        "Completed 34 56.7% of impressions 0% lost",
    ]
    widths = page.locator("#funnel i").evaluate_all(
        "bars => bars.map(bar => bar.clientWidth / bar.parentNode.clientWidth)"
    )
    assert widths == pytest.approx([1, 0.833, 0.8, 0.767, 0.567, 0.567], abs=0.01)
    expect(page.locator("#figures .few")).to_have_count(0)


def test_rates_of_few_events_and_above_all(page: Page) -> None:
    show(page, REPORT.read_text())
    assert figures(page)["View rate"].endswith("no impressions")
    assert figures(page)["Reached 25%"] == (
        "300% | too few to judge: only 1 start; over 100%: some starts are missing or came before these hours"
    )
    expect(page.locator("#funnel-note")).to_have_text("There are no impressions here: shares are of started views.")
    assert "Too few to judge: only 1 in the step before. More than in the step before" in funnel(page)[2]
    assert page.locator("#rows .few").count() == 15
    expect(page.locator("#rows-note")).to_contain_text("Grey rates are of fewer than 30.")


def test_the_sample_is_a_day_that_makes_sense(page: Page) -> None:
    make_sample(page)
    counts = [int(cell.replace(",", "")) for cell in texts(page, "#funnel .count")]
    assert counts == sorted(counts, reverse=True)
    expect(page.locator("#figures .few")).to_have_count(0)
    assert figures(page)["First hour"] == "2021-04-02 00:00"


# ---- Time


@pytest.mark.parametrize(
    ("hours", "phone", "note", "bars"),
    [
        (24, False, "", 24),
        (503, False, "", 503),
        (400, True, "Each point is 3 hours.", 134),
        (503, True, "Each point is 6 hours.", 84),
        (504, False, "Each point is a day.", 21),
        (8760, False, "Each point is a day.", 365),
        (8760, True, "Each point is a week.", 53),
    ],
)
def test_automatic_steps(open_page: Open, hours: int, phone: bool, note: str, bars: int) -> None:
    page = open_page(**(PHONE if phone else {}))
    show(page, report(hours_of("2021-04-01", hours), lambda number: [number % 9 + 40] * 6))
    expect(page.locator("#axis-note")).to_have_text(note)
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuemax", str(bars))
    page.get_by_label("Step").select_option("hour")
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuemax", str(hours))
    expect(page.locator("#axis-note")).to_have_text("")
    page.get_by_label("Step").select_option("week")
    expect(page.locator("#axis-note")).to_have_text("Each point is a week.")


def test_days_are_those_of_the_zone(page: Page) -> None:
    """27 to 29 March 2021 in Paris have 24, 23 and 24 hours."""
    march = hours_of("2021-03-27", 26), hours_of("2021-03-28T03:00", 45, "+02:00")
    show(page, report([*march[0], *march[1]], lambda number: [1] * 6))
    page.get_by_label("Step").select_option("day")
    chart = page.get_by_role("slider")
    expect(chart).to_have_attribute("aria-valuemax", "3")
    days = ("Home", "Sat, 27", 24), ("ArrowRight", "Sun, 28", 23), ("ArrowRight", "Mon, 29", 24)
    for key, day, count in days:
        chart.press(key)
        expect(chart).to_have_attribute("aria-valuetext", re.compile(f"^{day} Mar 2021: impressions {count},"))
    page.get_by_label("Step").select_option("week")
    expect(chart).to_have_attribute("aria-valuemax", "2")


def test_a_repeated_hour(page: Page) -> None:
    night = [*hours_of("2021-10-31T01:00", 2, "+02:00"), *hours_of("2021-10-31T02:00", 3)]
    show(page, report(night, lambda number: [1] * 6))
    assert [hour[11:] for hour in texts(page, "#rows th")][1:3] == ["02:00 +02:00", "02:00 +01:00"]
    places = [x for x, _ in points(page, "path.line.s0")]
    assert [b - a for a, b in itertools.pairwise(places)] == pytest.approx([places[1] - places[0]] * 4, abs=0.2)
    page.get_by_role("slider").press("End")
    expect(page.locator("#readout")).to_contain_text("31 Oct 2021, 04:00 (UTC+01:00)")


def test_gaps_and_huge_ranges(page: Page) -> None:
    show(page, report(["2021-04-01T00:00:00+01:00", "2021-04-01T10:00:00+01:00"], lambda number: [4] * 6))
    heights = [y for _, y in points(page, "path.line.s0")]
    assert max(heights) == float(page.locator("#chart .band").get_attribute("height") or 0)
    assert heights[0] == heights[-1] < max(heights)
    show(page, report(["1970-01-01T01:00:00+01:00", "9999-12-31T22:00:00+01:00"], lambda number: [4] * 6), "huge.csv")
    expect(page.get_by_text("Not to scale")).to_be_visible()
    page.get_by_role("slider").press("End")
    expect(page.locator("#readout")).to_contain_text("31 Dec 9999")


@pytest.mark.parametrize("most", [1, 7, 21, 101, 337, 1_000_001])
def test_the_value_axis_fits(page: Page, most: int) -> None:
    show(page, report(hours_of("2021-04-01", 2), lambda number: [most, 0, 0, 0, 0, 0]))
    highest = min(y for _, y in points(page, "path.line.s0"))
    assert highest < 0.1 * float(page.locator("#chart .band").get_attribute("height") or 0)
    assert 2 <= page.locator("#chart .grid, #chart g > g > .base").count() <= 8


def test_heat_map(page: Page) -> None:
    """A Thursday and the Friday a week later at 20:00: what lies between has no events."""
    show(
        page,
        report(
            ["2021-04-01T20:00:00+01:00", "2021-04-09T20:00:00+01:00"], lambda number: [0, 30 * number + 10, 0, 0, 0, 0]
        ),
    )
    cells = page.locator("#heat tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    assert cells[0] == ["", *(f"{hour:02}" for hour in range(24))]
    assert [row[0] for row in cells[1:]] == ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    assert (cells[4][21], cells[5][21], cells[1][21]) == ("5", "20", "0")  # of two Thursdays and two Fridays
    expect(page.locator("#heat-note")).to_contain_text("Busiest: Friday, 20:00, with 20 an hour on average.")
    page.get_by_label("Event type").select_option("impressions")
    expect(page.get_by_role("table", name="Mean impressions an hour")).to_be_visible()


# ---- Comparing


def test_the_period_before(page: Page) -> None:
    show(
        page,
        report(
            hours_of("2021-04-01", 96), lambda number: [100 * (1 + number // 48)] * 5 + [50] if number else [100] * 6
        ),
    )
    page.get_by_label("Compare with").select_option("the period before")
    expect(page.locator("#compared")).to_contain_text("The report does not have the whole period before")
    page.get_by_role("slider").press("End")
    page.get_by_role("slider").press("+")
    expect(page.locator("#zoomed")).to_contain_text("48 of 96 hours: 3 Apr 2021, 00:00")
    expect(page.locator("#compared")).to_contain_text("Faint: 1 Apr 2021, 00:00 \N{EN DASH} 2 Apr 2021, 23:00.")
    assert figures(page)["Impressions"] == "9,600 | +100% from 4.8K"
    assert figures(page)["Completion rate"] == "25% | -26 points | of starts"
    expect(page.locator("path.before")).to_have_count(6)


def test_a_second_file(page: Page) -> None:
    show(page, report(hours_of("2021-04-05", 48), lambda number: [200] * 6))
    earlier = report(hours_of("2021-03-01", 48), lambda number: [100 + number] * 6)
    second = {"name": "march.csv", "mimeType": "text/csv", "buffer": earlier.encode()}
    page.get_by_label("Second file").set_input_files([second])  # type: ignore[list-item]
    expect(page.locator("#compared")).to_contain_text("1 Mar 2021, 00:00 \N{EN DASH} 2 Mar 2021, 23:00 of march.csv.")
    assert [x for x, _ in points(page, "path.line.s0:not(.before)")] == [x for x, _ in points(page, "path.before.s0")]
    assert figures(page)["Impressions"] == "9,600 | +61.9% from 5.9K"
    page.reload()
    expect(page.locator("#compared")).to_contain_text("of march.csv.")
    page.get_by_label("Compare with").select_option("nothing")
    expect(page.locator("path.before")).to_have_count(0)


# ---- The address


def test_options_and_view_survive(page: Page, address: str) -> None:
    page.get_by_label("Time zone").fill("Europe/Paris")
    page.get_by_label("Count duplicates once").check()
    upload(page, month(100))
    expect(page.locator("[data-key=hours]")).to_have_text("100")
    page.get_by_text("Stack", exact=True).click()
    page.get_by_label("Step").select_option("day")
    page.get_by_role("button", name="Only video_75").click()
    page.get_by_role("button", name="Zoom in").click()
    zoomed = page.locator("#zoomed").inner_text()
    assert "time_zone=Europe/Paris" in page.url
    for again in (page.reload, lambda: (page.goto("about:blank"), page.go_back())):
        again()
        expect(page.locator("#zoomed")).to_have_text(zoomed)
        expect(page.get_by_label("Time zone")).to_have_value("Europe/Paris")
        expect(page.get_by_label("Count duplicates once")).to_be_checked()
        expect(page.get_by_role("radio", name="Stack")).to_be_checked()
        expect(page.get_by_label("Step")).to_have_value("24")
        expect(page.locator("path.bar")).to_have_class("bar s4")
        expect(page.locator(".differs")).to_have_count(0)
    page.go_back()  # to before the report was made
    expect(page.get_by_role("heading", name="Report of events.jsonl")).to_be_visible()


# ---- The chart by pointer, finger and keyboard


def test_values_of_an_hour(page: Page) -> None:
    show(page, report(hours_of("2021-04-01", 3), STEPS.__getitem__))
    readout, tip, chart = page.locator("#readout"), page.locator("#tip"), page.get_by_role("slider")
    expect(readout).to_have_text("Whole report: completion rate 68%")
    chart.hover(position={"x": 60, "y": 100})
    expect(readout).to_have_text("1 Apr 2021, 00:00: completion rate 25%")
    expect(page.locator("#legend b")).to_have_text(["10", "8", "6", "4", "3", "2"])
    expect(tip.locator("b")).to_have_text("1 Apr 2021, 00:00")
    expect(tip.locator("tr").nth(2)).to_have_text("video_25675%")
    page.get_by_role("heading", name="Table").hover()
    expect(tip).to_be_hidden()


def test_modes_and_what_the_legend_shows(page: Page) -> None:
    show(page, report(hours_of("2021-04-01", 3), STEPS.__getitem__))
    expect(page.locator("path.line")).to_have_count(6)
    page.get_by_text("Stack", exact=True).click()
    expect(page.locator("path.bar")).to_have_count(6)
    page.get_by_text("Rates", exact=True).click()
    expect(page.locator("path.line")).to_have_count(5)
    assert texts(page, "#legend .toggle")[:2] == ["View rate\n83.3%", "Reached 25%\n96%"]
    page.get_by_text("Panels", exact=True).click()
    expect(page.locator("#chart .title")).to_have_text([*EVENT_TYPES])
    page.get_by_role("radio", name="Panels").press("ArrowLeft")
    expect(page.get_by_role("radio", name="Lines")).to_be_checked()
    only = page.get_by_role("button", name="Only video_75")
    only.click()
    expect(page.locator("path.line")).to_have_class(["line s4"])
    expect(only).to_have_attribute("aria-pressed", "true")
    only.click()
    expect(page.locator("path.line")).to_have_count(6)


def test_zoom_by_dragging(page: Page) -> None:
    show(page, report(hours_of("2021-04-01", 400), lambda number: [40] * 6))
    chart = page.get_by_role("slider")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    slot = (box["width"] - 60) / 400
    page.mouse.move(box["x"] + 48 + 48.5 * slot, box["y"] + 90)
    page.mouse.down()
    page.mouse.move(box["x"] + 48 + 95.5 * slot, box["y"] + 90, steps=3)
    expect(page.locator(".brush")).to_be_visible()
    page.mouse.up()
    expect(page.locator("#zoomed")).to_contain_text("48 of 400 hours: 3 Apr 2021, 00:00 \N{EN DASH} 4 Apr 2021, 23:00")
    assert figures(page)["First hour"] == "2021-04-03 00:00"
    page.get_by_role("button", name="All hours").click()
    assert figures(page)["First hour"] == "2021-04-01 00:00"


def test_zoom_by_keyboard(page: Page) -> None:
    show(page, report(hours_of("2021-04-01", 100), lambda number: [40] * 6))
    chart, zoomed = page.get_by_role("slider"), page.locator("#zoomed")
    for key in ("End", "+", "+"):
        chart.press(key)
    expect(zoomed).to_contain_text("25 of 100 hours: 4 Apr 2021, 03:00 \N{EN DASH} 5 Apr 2021, 03:00")
    chart.press("Home")
    chart.press("ArrowLeft")
    expect(zoomed).to_contain_text("25 of 100 hours: 3 Apr 2021, 15:00")
    chart.press("-")
    expect(chart).to_have_attribute("aria-valuemax", "50")
    chart.press("0")
    expect(zoomed).to_have_text("All hours are shown.")


def test_keyboard_only(page: Page) -> None:
    def tab_to(name: str) -> None:
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        expect(focused).to_have_accessible_name(re.compile(name))
        node = "document.activeElement.id === 'file' ? drop : document.activeElement"
        assert page.evaluate(f"getComputedStyle({node}).outlineStyle") in ("solid", "auto")

    tab_to("Choose files")
    tab_to("Or paste events")
    page.keyboard.insert_text(SAMPLE.read_text())
    for option in (
        "Time zone",
        "Impressions scaled by",
        "Leave out invalid",
        "Count duplicates",
        "Try the sample",
        "Make report",
    ):
        tab_to(option)
    page.keyboard.press("Enter")
    expect_report(page, "6", "3")
    for name in ("Download CSV", "Lines", "Step", "Compare with", "Zoom in", "PNG", "SVG"):
        tab_to(name)
    for kind in EVENT_TYPES:
        tab_to(f"^{kind}")
        tab_to(f"Only {kind}")
    tab_to("Hour in the chart")
    values = "impressions 0, video_start 1, video_25 1, video_50 0, video_75 0, video_completed 0, completion rate 0%"
    expect(page.locator(":focus")).to_have_attribute("aria-valuetext", f"2 Apr 2021, 18:00: {values}")
    for name in ("Event type", "Hours and weekdays", "Copy table", "Table"):
        tab_to(name)


# ---- The table


def test_table(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    show(page, report(hours_of("2021-04-01", 3), STEPS.__getitem__))
    first = page.locator("#rows th")
    page.get_by_role("button", name="Completion rate").click()
    expect(page.get_by_role("columnheader", name="Completion rate")).to_have_attribute("aria-sort", "descending")
    expect(page.get_by_role("button", name="Completion rate")).to_be_focused()
    expect(first).to_have_text(["2021-04-01 01:00", "2021-04-01 00:00", "2021-04-01 02:00"])
    page.get_by_role("button", name="impressions", exact=True).click()
    page.get_by_role("button", name="impressions", exact=True).click()
    expect(first).to_have_text(["2021-04-01 02:00", "2021-04-01 00:00", "2021-04-01 01:00"])
    page.get_by_role("button", name="Copy table").click()
    expect(page.locator("#copied")).to_have_text("Copied 3 hours.")
    lines = page.evaluate("navigator.clipboard.readText()").split("\n")
    assert lines[2] == "2021-04-01T00:00:00+01:00\t10\t8\t6\t4\t3\t2\t0.0\t80%\t75%\t50%\t37.5%\t25%"
    assert lines[-1].startswith("Total\t60\t50\t48\t46\t34\t34\t0.0\t83.3%")


@pytest.mark.parametrize("width", [360, 1280, 1920])
def test_the_table_fits_or_scrolls_with_a_cue(open_page: Open, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 740})
    show(page, report(hours_of("2021-04-01", 30), lambda number: [1_234_567] * 6))
    box = page.get_by_role("region", name="Table")
    beyond = box.evaluate("box => box.scrollWidth - box.clientWidth")
    assert (beyond <= 0) == (width == 1920)
    assert page.get_by_text("Scroll for all columns").is_visible() == (beyond > 0)
    box.evaluate("box => box.scrollTo(9999, 9999)")
    frame, first = box.bounding_box(), page.locator("#totals th").bounding_box()
    assert frame is not None
    assert first is not None
    assert first["x"] == pytest.approx(frame["x"], abs=1)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


# ---- Paper, pictures, and a report in one file


def test_pictures(page: Page) -> None:
    show(page, report(hours_of("2021-04-01", 3), STEPS.__getitem__))
    with page.expect_download() as download:
        page.get_by_role("button", name="SVG").click()
    picture = Path(download.value.path()).read_text()
    assert download.value.suggested_filename == "shown.svg"
    assert 'stroke="rgb(0, 80, 146)"' in picture  # without the page's style sheet
    for text in ("Report of shown.csv", "1 Apr 2021, 00:00", "video_completed 34"):
        assert text in picture
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG").click()
    data = Path(download.value.path()).read_bytes()
    assert data.startswith(b"\x89PNG")
    assert int.from_bytes(data[16:20]) > 2000  # wide: two pixels for each of the page's


def test_print(page: Page) -> None:
    show(page, report(hours_of("2021-04-01", 2500), lambda number: [40] * 6))
    expect(page.locator("#rows tr")).to_have_count(1000)
    page.emulate_media(media="print")
    expect(page.locator("#rows tr")).to_have_count(2500)
    for hidden in ("#form", ".tools", "#copy", "#more", "#download"):
        expect(page.locator(hidden)).to_be_hidden()
    assert page.get_by_role("region", name="Table").evaluate("box => box.scrollHeight - box.clientHeight") == 0
    chart = page.locator("#chart svg").bounding_box()
    assert chart is not None
    assert chart["width"] <= page.locator("#chart").evaluate("chart => chart.clientWidth")


@pytest.fixture(scope="module")
def chart_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report and its chart, as the command line writes them."""
    folder = tmp_path_factory.mktemp("chart")
    (folder / "funnel.jsonl").write_bytes(month(30))
    command = [sys.executable, "-m", "pipeline", "funnel.jsonl", "--chart_output", "chart.html"]
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    return folder / "chart.html"


@pytest.mark.parametrize("width", [360, 1280])
def test_a_report_with_its_chart_in_one_file(open_page: Open, chart_file: Path, width: int) -> None:
    page = open_page("about:blank", viewport={"width": width, "height": 740}, offline=True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"file://{chart_file}")
    expect(page.get_by_role("heading", name="Report of funnel.jsonl")).to_be_visible()
    expect(page).to_have_title("funnel.jsonl \N{EN DASH} Hourly report")
    written = (chart_file.parent / "report.csv").read_bytes()
    assert table(page) == as_shown(written.decode())
    expect(page.locator("path.line")).to_have_count(6)
    page.get_by_role("slider").press("End")
    page.get_by_role("slider").press("+")
    expect(page.locator("#zoomed")).to_contain_text("15 of 30 hours")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    assert Path(download.value.path()).read_bytes() == written
    assert violations(page) == []
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []


def test_the_file_without_scripts(open_page: Open, chart_file: Path) -> None:
    page = open_page(f"file://{chart_file}", java_script_enabled=False)
    rows = [cell.inner_text() for cell in page.locator("#rows tr").all()]
    wanted = csv.reader((chart_file.parent / "report.csv").read_text().splitlines()[1:])
    assert [row.split("\t") for row in rows] == [*wanted]
    expect(page.get_by_role("slider")).to_have_count(0)
    expect(page.get_by_role("button")).to_have_count(0)


# ---- The live folder


def test_the_folder_of_a_stream(open_page: Open, tmp_path: Path) -> None:
    hours = hours_of("2021-04-01", 4)
    for hour in hours[:3]:
        write_hour(tmp_path, hour, 1)
    (tmp_path / "2021-04-01T00+0100.final").touch()
    (tmp_path / "server").mkdir()
    with running(tmp_path / "server" / "tmp", "--reports", str(tmp_path)) as server:
        page = open_page(server.address)
        assert violations(page) == []
        first = page.locator("#rows th")
        expect(first).to_have_text(["2021-04-01 02:00", "2021-04-01 01:00", "2021-04-01 00:00 final"])
        page.get_by_role("slider").press("Home")
        page.get_by_role("slider").press("+")
        expect(page.locator("#zoomed")).to_contain_text("2 of 3 hours")
        write_hour(tmp_path, hours[3], 7)
        write_hour(tmp_path, hours[0], 5)
        expect(page.locator("#totals")).to_contain_text("Total14", timeout=20_000)
        expect(first.first).to_have_text("2021-04-01 03:00")
        expect(page.locator("#zoomed")).to_contain_text("2 of 4 hours")
        expect(page.locator("#readout")).to_contain_text("1 Apr 2021, 00:00")
        (tmp_path / "2021-04-01T02+0100.csv").write_text("broken")
        expect(page.get_by_role("alert")).to_contain_text("2021-04-01T02+0100.csv is not", timeout=20_000)
        write_hour(tmp_path, hours[2], 1)
        expect(page.get_by_role("alert").get_by_role("heading")).to_have_count(0, timeout=20_000)
        make_sample(page)
        page.get_by_role("button", name="Live reports").click()
        expect(page.get_by_role("heading", name="Report of the live folder")).to_be_visible()


# ---- How it looks


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_that_axe_finds(open_page: Open, scheme: str, width: int) -> None:
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 740})
    assert violations(page) == []
    upload(page, b"nonsense\n" * 25)
    expect_problem(page, "Some records are not events")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    make_sample(page)
    page.get_by_role("slider").press("Home")
    page.get_by_label("Time zone").fill("UTC")
    for mode in ("Panels", "Stack", "Rates", "Lines"):
        page.get_by_text(mode, exact=True).click()
        assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_nothing_moves_but_below_what_is_there(open_page: Open) -> None:
    page = open_page(viewport={"width": 360, "height": 740})
    page.evaluate(
        "window.shifts = []; const note = list => shifts.push(...list.getEntries().map(entry => entry.value));"
        "new PerformanceObserver(note).observe({type: 'layout-shift', buffered: true})"
    )
    upload(page, month())
    expect_report(page, "9,000", "720")
    page.locator("#chart").hover(position={"x": 150, "y": 50})
    expect(page.locator("#tip")).to_be_visible()
    make_sample(page)
    page.evaluate("new Promise(requestAnimationFrame)")
    assert sum(page.evaluate("shifts")) < 0.001  # a text flush right that gets shorter counts as one that moves


def test_forced_colours_show_what_is_chosen(open_page: Open) -> None:
    page = open_page(forced_colors="active")
    show(page, report(hours_of("2021-04-01", 3), STEPS.__getitem__))
    chosen, other = ([*colour(page, f"label:has([value={mode}])", "backgroundColor")] for mode in ("lines", "stack"))
    assert chosen != other
    bars = [colour(page, f"#funnel .s{number} i", "backgroundColor") for number in (0, 1)]
    assert bars[0] != bars[1]
