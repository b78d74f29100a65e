"""The page in a real browser against a real server.

CHROMIUM names the browser, /usr/bin/chromium by default.
"""

import csv
import gzip
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
    FUNNEL_COUNTS,
    REPORT,
    ROOT,
    SAMPLE,
    background,
    displayed_hours,
    event,
    events_of,
    expect_problem,
    expect_report,
    figures,
    funnel,
    hours_from,
    make_sample,
    points,
    report,
    show,
    table,
    upload,
    violations,
    write_hour,
)
from tests.serving_support import running

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
CHROMIUM_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
FAILED_RESOURCE = "Failed to load resource"  # Chromium logs it for each status of 400 and above
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}

OpenPage = Callable[..., Page]


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


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[OpenPage]:
    """Opens pages; fails on console errors, uncaught exceptions and violations of the content security policy."""
    contexts, complaints = [], []

    def open_at(url: str = address, **options: Any) -> Page:
        defaults = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce"}
        context = browser.new_context(**{**defaults, **options})
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
def page(open_page: OpenPage) -> Page:
    return open_page()


def test_choose_a_file_and_show_its_download_again(page: Page) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Choose files").click()
    chooser.value.set_files(SAMPLE)
    expect_report(page, "6", "3")
    assert table(page) == displayed_hours(REPORT.read_text())
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    assert download.value.suggested_filename == "events.csv"
    downloaded = Path(download.value.path()).read_text()
    assert downloaded == REPORT.read_text()
    page.on("request", lambda request: pytest.fail("sent") if request.method == "POST" else None)
    upload(page, downloaded, downloaded, name="hour.csv")
    expect(page.locator("#totals")).to_contain_text("Total0262020.0")
    upload(page, downloaded, downloaded.replace("22:00:00+01:00", "23:00:00+02:00"))
    expect_problem(page, "This report cannot be shown")


def test_make_report_uses_the_last_input_and_the_options(page: Page) -> None:
    make = page.get_by_role("button", name="Make report")
    make.click()
    expect(page.locator("#status")).to_have_text("Choose a file or paste events first.")
    upload(page, b"[")
    expect_problem(page, "The input could not be read")
    page.get_by_label("Or paste events").fill(event("impressions", APRIL).decode())
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="Report for the pasted text")).to_be_visible()
    make_sample(page)
    page.get_by_label("Time zone").fill("+05:30")
    page.get_by_label("Impressions factor").fill("1")
    expect(page.locator(".differs")).to_have_count(2)
    with page.expect_request(lambda request: request.method == "POST") as request:
        page.get_by_label("Impressions factor").press("Enter")
    assert request.value.url.endswith("?utc_offset=%2B05%3A30&impressions_factor=1")
    expect(page.locator("#figures")).to_contain_text("1,208.0")
    expect(page.get_by_role("heading", name="Report for the sample")).to_be_visible()
    expect(page.locator(".differs")).to_have_count(0)
    page.get_by_label("Time zone").fill("Europe/Pari")
    make.click()
    expect_problem(page, "An option is not valid")


def test_several_files_are_compressed_and_added_up(page: Page, address: str) -> None:
    encodings: list[str | None] = []
    page.on("request", lambda request: encodings.append(request.headers.get("content-encoding")))
    upload(page, events_of(30), events_of(3), pa.compress(events_of(50), "zstd", asbytes=True))
    whole = events_of(30) + events_of(3) + events_of(50)
    expect_report(page, f"{whole.count(b'timestamp'):,}", "50")
    assert encodings == ["gzip", None, "zstd"]
    with urllib.request.urlopen(address, whole) as response:
        assert table(page) == displayed_hours(response.read().decode())
    page.get_by_label("Count duplicates once").check()
    upload(page, events_of(30), events_of(50))
    expect_problem(page, "Use the command line for these files")
    expect(page.get_by_role("alert")).to_contain_text("python -m pipeline 'FOLDER/*' --deduplicate")


def test_a_dropped_folder(page: Page, tmp_path: Path) -> None:
    files = {"a.jsonl": events_of(3), "deep/b.jsonl": events_of(5), "_SUCCESS": b"x", ".hidden/c.jsonl": b"x"}
    for name, data in files.items():
        (tmp_path / "events" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "events" / name).write_bytes(data)
    box = page.locator("#drop").bounding_box()
    assert box is not None
    data = {"items": [], "files": [str(tmp_path / "events")], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        drag = {"type": kind, "x": box["x"] + 50, "y": box["y"] + 50, "data": data}
        page.context.new_cdp_session(page).send("Input.dispatchDragEvent", drag)
    expect_report(page, "21", "5")
    expect(page.get_by_role("heading", name="Report for events")).to_be_visible()


def test_progress_and_cancel(page: Page) -> None:
    make_sample(page)
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 100_000}
    network.send("Network.emulateNetworkConditions", slow)
    upload(page, gzip.compress(os.urandom(2_000_000)))
    expect(page.get_by_text("% of 1.9 MiB")).to_have_text(re.compile(r"^[1-9]\d?% "), timeout=30_000)
    page.get_by_role("button", name="Cancel").focus()
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_have_text("Cancelled.")
    expect(page.get_by_role("button", name="Make report")).to_be_focused()
    expect(page.get_by_role("heading", name="Report for the sample")).to_be_visible()


def test_rejects_are_listed_and_marked(page: Page) -> None:
    marks = {
        '{"id": 5, "event": "video_25", "timestamp": 1}': '"id": 5',
        '{"id": "a", "event": "<img src=x onerror=alert(1)>", "timestamp": 1}': "<img src=x onerror=alert(1)>",
        '{"id": "a", "event": "\\u001b[2Jclick", "timestamp": 1}': "click",
    }
    upload(page, event("video_25", 1) + b"\n" + "\n".join(marks).encode() + b"\nnonsense" * 24)
    expect_problem(page, "Some records are invalid")
    rows = page.locator("#rejects tr")
    expect(rows).to_have_count(10)
    for number, (line, mark) in enumerate(marks.items()):
        expect(rows.nth(number).locator("td").first).to_have_text(str(number + 3))
        expect(rows.nth(number).locator("td").last).to_have_text(line)
        expect(rows.nth(number).locator("mark")).to_contain_text(mark)
    assert "\x1b" not in page.content()
    expect(page.get_by_text("And 17 more.")).to_be_visible()


@pytest.mark.parametrize(
    ("status", "title"),
    [
        (200, "The server responded with status 200"),
        (415, "The server does not support this compression"),
        (503, "The server is busy"),
    ],
)
def test_error_responses(page: Page, status: int, title: str) -> None:
    page.route("**/", lambda route: route.fulfill(status=status, body="<html>Sorry</html>"))
    page.get_by_role("button", name="Try the sample").click()
    expect_problem(page, title)
    page.unroute_all()
    if status == 503:
        page.get_by_role("button", name="Send again").click()
        expect_report(page, "4,425", "24")


def test_token_and_size_limit(open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("right")
    limits = ("--token_file", str(tmp_path / "token"), "--max_body_bytes", "1000")
    with running(tmp_path / "tmp", *limits) as server:
        page = open_page(server.address)
        upload(page, SAMPLE.read_bytes())
        expect_problem(page, "This server requires a token")
        token = page.get_by_role("textbox", name="Token")
        for typed, title in (("wrong", "The server rejected this token"), ("\u2603", "This token is not valid")):
            expect(token).to_be_focused()
            token.fill(typed)
            page.keyboard.press("Enter")
            expect_problem(page, title)
        token.fill("right")
        page.keyboard.press("Enter")
        expect_report(page, "6", "3")
        assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
        upload(page, events_of(30))
        expect_problem(page, "The input is too large")
        expect(page.get_by_role("alert")).to_contain_text("this server accepts up to 1,000 bytes")


def test_figures_and_funnel(page: Page) -> None:
    show(page, report(hours_from("2021-04-01", 3), FUNNEL_COUNTS.__getitem__))
    assert list(figures(page).items())[:3] == [
        ("Impressions", "60"),
        ("View rate", "83.3% | of impressions"),
        ("Reached 25%", "96% | of starts"),
    ]
    assert funnel(page) == [
        "Impressions 60 100% of impressions",
        "Started 50 83.3% of impressions 16.7% lost",
        "Reached 25% 48 80% of impressions 4% lost",
        "Reached 50% 46 76.7% of impressions 4.2% lost",
        "Reached 75% 34 56.7% of impressions 26.1% lost",
        "Completed 34 56.7% of impressions 0% lost",
    ]
    show(page, REPORT.read_text(), "few.csv")
    assert figures(page)["Reached 25%"] == (
        "300% | based on only 1 start; over 100%: some starts are missing or happened before these hours"
    )
    assert "Based on only 1 event in the previous step. More than in the previous step" in funnel(page)[2]
    make_sample(page)
    expect(page.locator("#figures .few")).to_have_count(0)  # a campaign with credible rates


@pytest.mark.parametrize(
    ("hours", "options", "note", "bars"),
    [
        (503, {}, "", 503),
        (400, PHONE, "Each point is 3 hours.", 134),
        (504, {}, "Each point is a day.", 21),
        (8760, PHONE, "Each point is a week.", 53),
    ],
)
def test_automatic_time_steps(open_page: OpenPage, hours: int, options: dict[str, Any], note: str, bars: int) -> None:
    page = open_page(**options)
    show(page, report(hours_from("2021-04-01", hours), lambda number: [number % 9 + 40] * 6))
    expect(page.locator("#axis-note")).to_have_text(note)
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuemax", str(bars))
    page.get_by_label("Time step").select_option("hour")
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuemax", str(hours))


def test_summer_time(page: Page) -> None:
    """28 March 2021 has 23 hours in Paris; 02:00 is repeated on 31 October."""
    march = [*hours_from("2021-03-27", 26), *hours_from("2021-03-28T03:00", 45, "+02:00")]
    show(page, report(march, lambda number: [1] * 6))
    page.get_by_label("Time step").select_option("day")
    chart = page.get_by_role("slider")
    for key, day in (("Home", "Sat, 27"), ("ArrowRight", "Sun, 28"), ("ArrowRight", "Mon, 29")):
        chart.press(key)
        count = 23 if day == "Sun, 28" else 24
        expect(chart).to_have_attribute("aria-valuetext", re.compile(f"^{day} Mar 2021: impressions {count},"))
    page.get_by_label("Time step").select_option("automatic")
    october = [*hours_from("2021-10-31T01:00", 2, "+02:00"), *hours_from("2021-10-31T02:00", 3)]
    show(page, report(october, lambda number: [1] * 6), "october.csv")
    assert page.locator("#rows th").all_inner_texts()[1:3] == ["2021-10-31 02:00 +02:00", "2021-10-31 02:00 +01:00"]
    expect(chart).to_have_attribute("aria-valuemax", "5")


def test_axes_fit_the_data(page: Page) -> None:
    years = ["1970-01-01T01:00:00+01:00", "9999-12-31T22:00:00+01:00"]
    show(page, report(years, lambda number: [337, 0, 0, 0, 0, 0]))
    top = min(y for _, y in points(page, "path.line.s0"))
    assert top < 0.1 * float(page.locator("#chart .band").get_attribute("height") or 0)
    expect(page.get_by_text("Not to scale")).to_be_visible()


def test_heat_map(page: Page) -> None:
    """A Thursday and the Friday of the next week at 20:00; two of each weekday are in between."""
    hours = ["2021-04-01T20:00:00+01:00", "2021-04-09T20:00:00+01:00"]
    show(page, report(hours, lambda number: [0, 30 * number + 10, 0, 0, 0, 0]))
    heat = page.get_by_role("table", name="Mean video_start per hour")
    expect(heat.get_by_role("row", name="Thu").get_by_role("cell").nth(20)).to_have_text("5")
    expect(heat.get_by_role("row", name="Fri").get_by_role("cell").nth(20)).to_have_text("20")
    expect(page.get_by_text("Busiest: Friday, 20:00, with 20 per hour on average.")).to_be_visible()
    page.get_by_label("Event type").select_option("impressions")
    expect(page.get_by_role("table", name="Mean impressions per hour")).to_be_visible()


def test_comparisons(page: Page) -> None:
    show(page, report(hours_from("2021-04-01", 96), lambda number: [100 * (1 + number // 48)] * 5 + [50]))
    page.get_by_label("Compare with").select_option("previous period")
    expect(page.locator("#compared")).to_contain_text("does not contain the whole previous period")
    page.get_by_role("slider").press("End")
    page.get_by_role("slider").press("+")
    expect(page.locator("#compared")).to_contain_text("1 Apr 2021, 00:00 \N{EN DASH} 2 Apr 2021, 23:00.")
    assert figures(page)["Impressions"] == "9,600 | +100% from 4.8K"
    assert figures(page)["Completion rate"] == "25% | -25 points | of starts"
    march = report(hours_from("2021-03-01", 96), lambda number: [100] * 6)
    upload(page, march, name="march.csv", field="Comparison file")
    expect(page.locator("#compared")).to_contain_text("of march.csv.")
    lines = [points(page, selector) for selector in ("path.line.s0:not(.before)", "path.before.s0")]
    assert [x for x, _ in lines[0]] == [x for x, _ in lines[1]]
    page.get_by_label("Compare with").select_option("nothing")
    expect(page.locator("path.before")).to_have_count(0)


def test_the_address_restores_options_and_view(page: Page) -> None:
    page.get_by_label("Time zone").fill("Europe/Paris")
    page.get_by_label("Count duplicates once").check()
    upload(page, events_of(100))
    expect(page.locator("[data-key=hours]")).to_have_text("100")
    page.get_by_text("Stack", exact=True).click()
    page.get_by_label("Time step").select_option("day")
    page.get_by_role("button", name="Only video_75").click()
    page.get_by_role("button", name="Zoom in").click()
    zoomed = page.locator("#zoomed").inner_text()
    assert "time_zone=Europe/Paris" in page.url
    for return_to_page in (page.reload, lambda: (page.goto("about:blank"), page.go_back())):
        return_to_page()
        expect(page.locator("#zoomed")).to_have_text(zoomed)
        expect(page.get_by_label("Time zone")).to_have_value("Europe/Paris")
        expect(page.get_by_label("Count duplicates once")).to_be_checked()
        expect(page.get_by_role("radio", name="Stack")).to_be_checked()
        expect(page.get_by_label("Time step")).to_have_value("24")
        expect(page.locator("path.bar")).to_have_class("bar s4")


def test_chart_types_values_and_legend(page: Page) -> None:
    show(page, report(hours_from("2021-04-01", 3), FUNNEL_COUNTS.__getitem__))
    page.get_by_role("slider").hover(position={"x": 60, "y": 100})
    expect(page.locator("#readout")).to_have_text("1 Apr 2021, 00:00: completion rate 25%")
    expect(page.locator("#legend b")).to_have_text(["10", "8", "6", "4", "3", "2"])
    expect(page.locator("#tip")).to_contain_text("video_25675%")
    for chart, marks, count in (("Lines", "path.line", 6), ("Stack", "path.bar", 6), ("Rates", "path.line", 5)):
        page.get_by_text(chart, exact=True).click()
        expect(page.locator(marks)).to_have_count(count)
    expect(page.locator("#legend")).to_contain_text("View rate83.3%")
    page.get_by_text("Panels", exact=True).click()
    expect(page.locator("#chart .title")).to_have_text([*EVENT_TYPES])
    page.get_by_role("button", name="Only video_75").click()
    expect(page.locator("path.line")).to_have_class(["line s4"])
    expect(page.get_by_role("button", name="Only video_75", pressed=True)).to_be_visible()


def test_zoom(page: Page) -> None:
    show(page, report(hours_from("2021-04-01", 400), lambda number: [40] * 6))
    chart, zoomed = page.get_by_role("slider"), page.locator("#zoomed")
    hour = (chart.evaluate("chart => chart.clientWidth") - 60) / 400
    chart.hover(position={"x": 48 + 48.5 * hour, "y": 90})
    page.mouse.down()
    chart.hover(position={"x": 48 + 95.5 * hour, "y": 90})
    page.mouse.up()
    expect(zoomed).to_contain_text("48 of 400 hours: 3 Apr 2021, 00:00 \N{EN DASH} 4 Apr 2021, 23:00")
    assert figures(page)["First hour"] == "2021-04-03 00:00"
    chart.press("End")
    chart.press("+")
    expect(zoomed).to_contain_text("24 of 400 hours: 4 Apr 2021, 11:00")
    chart.press("Home")
    chart.press("ArrowLeft")
    expect(zoomed).to_contain_text("24 of 400 hours: 4 Apr 2021, 00:00")
    chart.press("0")
    expect(zoomed).to_have_text("All hours are shown.")


def test_keyboard_only(page: Page) -> None:
    def tab_to(name: str) -> None:
        page.keyboard.press("Tab")
        expect(page.locator(":focus")).to_have_accessible_name(re.compile(name))
        node = "document.activeElement.id === 'file' ? drop : document.activeElement"
        assert page.evaluate(f"getComputedStyle({node}).outlineStyle") in ("solid", "auto")

    tab_to("Choose event files")
    tab_to("Or paste events")
    page.keyboard.insert_text(SAMPLE.read_text())
    for name in ("Time zone", "Impressions", "Skip invalid", "Count duplicates", "Try the sample", "Make report"):
        tab_to(name)
    page.keyboard.press("Enter")
    expect_report(page, "6", "3")
    for name in ("Download CSV", "Lines", "Time step", "Compare with", "Zoom in", "PNG", "SVG"):
        tab_to(name)
    for kind in EVENT_TYPES:
        tab_to(f"^{kind}")
        tab_to(f"Only {kind}")
    tab_to("Time in the chart")
    values = "impressions 0, video_start 1, video_25 1, video_50 0, video_75 0, video_completed 0, completion rate 0%"
    expect(page.locator(":focus")).to_have_attribute("aria-valuetext", f"2 Apr 2021, 18:00: {values}")
    for name in ("Event type", "Events by weekday and hour", "Copy table", "Table"):
        tab_to(name)


def test_table_is_sorted_and_copied(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    show(page, report(hours_from("2021-04-01", 3), FUNNEL_COUNTS.__getitem__))
    page.get_by_role("button", name="Completion rate").click()
    expect(page.get_by_role("columnheader", name="Completion rate")).to_have_attribute("aria-sort", "descending")
    expect(page.locator("#rows th")).to_have_text(["2021-04-01 01:00", "2021-04-01 00:00", "2021-04-01 02:00"])
    page.get_by_role("button", name="Copy table").click()
    expect(page.get_by_text("Copied 3 hours.")).to_be_visible()
    lines = page.evaluate("navigator.clipboard.readText()").split("\n")
    assert lines[2] == "2021-04-01T00:00:00+01:00\t10\t8\t6\t4\t3\t2\t0.0\t80%\t75%\t50%\t37.5%\t25%"


@pytest.mark.parametrize("width", [360, 1920])
def test_table_fits_or_scrolls_with_a_cue(open_page: OpenPage, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 740})
    show(page, report(hours_from("2021-04-01", 30), lambda number: [1_234_567] * 6))
    box = page.get_by_role("region", name="Table")
    box.scroll_into_view_if_needed()
    hidden = box.evaluate("box => box.scrollWidth - box.clientWidth")
    assert (hidden <= 0) == (width == 1920)
    assert page.get_by_text("Scroll to see all columns").is_visible() == (hidden > 0)
    box.evaluate("box => box.scrollTo(9999, 9999)")
    expect(page.locator("#totals th")).to_be_in_viewport(ratio=1)  # the first column is fixed


def test_pictures(page: Page) -> None:
    show(page, report(hours_from("2021-04-01", 3), FUNNEL_COUNTS.__getitem__))
    pictures = {}
    for kind in ("SVG", "PNG"):
        with page.expect_download() as download:
            page.get_by_role("button", name=kind).click()
        assert download.value.suggested_filename == f"shown.{kind.lower()}"
        pictures[kind] = Path(download.value.path()).read_bytes()
    for text in ("Report for shown.csv", "video_completed 34", 'stroke="rgb(0, 80, 146)"'):
        assert text in pictures["SVG"].decode()
    assert pictures["PNG"].startswith(b"\x89PNG")
    assert int.from_bytes(pictures["PNG"][16:20]) > 2000  # pixels: twice the width on the page


def test_print(page: Page) -> None:
    show(page, report(hours_from("2021-04-01", 2500), lambda number: [40] * 6))
    page.emulate_media(media="print")
    expect(page.locator("#rows tr")).to_have_count(2500)
    for hidden in ("#form", ".tools", "#copy", "#more", "#download"):
        expect(page.locator(hidden)).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_chart_output(open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "funnel.jsonl").write_bytes(events_of(30))
    command = [sys.executable, "-m", "pipeline", "funnel.jsonl", "--chart_output", "chart.html"]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    written = (tmp_path / "report.csv").read_text()
    url = f"file://{tmp_path / 'chart.html'}"
    page = open_page("about:blank", viewport=PHONE["viewport"], offline=True)
    page.on("request", lambda request: pytest.fail(request.url) if request.url.startswith("http") else None)
    page.goto(url)
    expect(page.get_by_role("heading", name="Report for funnel.jsonl")).to_be_visible()
    assert table(page) == displayed_hours(written)
    expect(page.locator("path.line")).to_have_count(6)
    page.get_by_role("slider").press("End")
    page.get_by_role("slider").press("+")
    expect(page.locator("#zoomed")).to_contain_text("15 of 30 hours")
    assert violations(page) == []
    without_scripts = open_page(url, java_script_enabled=False)
    rows = [row.split("\t") for row in without_scripts.locator("#rows tr").all_inner_texts()]
    assert rows == [*csv.reader(written.splitlines()[1:])]
    expect(without_scripts.get_by_role("button")).to_have_count(0)


def test_live_reports(open_page: OpenPage, tmp_path: Path) -> None:
    hours = hours_from("2021-04-01", 4)
    for hour in hours[:3]:
        write_hour(tmp_path, hour, 1)
    (tmp_path / "2021-04-01T00+0100.final").touch()
    (tmp_path / "server").mkdir()
    with running(tmp_path / "server" / "tmp", "--reports", str(tmp_path)) as server:
        page = open_page(server.address)
        first = page.locator("#rows th")
        expect(first).to_have_text(["2021-04-01 02:00", "2021-04-01 01:00", "2021-04-01 00:00 final"])
        page.get_by_role("slider").press("Home")
        page.get_by_role("slider").press("+")
        write_hour(tmp_path, hours[3], 7)
        write_hour(tmp_path, hours[0], 5)
        expect(page.locator("#totals")).to_contain_text("Total14", timeout=20_000)
        expect(first.first).to_have_text("2021-04-01 03:00")
        expect(page.locator("#zoomed")).to_contain_text("2 of 4 hours")
        (tmp_path / "2021-04-01T02+0100.csv").write_text("broken")
        expect(page.get_by_role("alert")).to_contain_text("2021-04-01T02+0100.csv is not", timeout=20_000)
        write_hour(tmp_path, hours[2], 1)
        expect(page.get_by_role("alert").get_by_role("heading")).to_have_count(0, timeout=20_000)
        make_sample(page)
        page.get_by_role("button", name="Live reports").click()
        expect(page.get_by_role("heading", name="Report for the live folder")).to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_accessibility(open_page: OpenPage, scheme: str, width: int) -> None:
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 740})
    upload(page, b"nonsense\n" * 25)
    expect_problem(page, "Some records are invalid")
    assert violations(page) == []
    make_sample(page)
    page.get_by_role("slider").press("Home")
    for chart in ("Panels", "Stack", "Rates", "Lines"):
        page.get_by_text(chart, exact=True).click()
        assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert background(page, ".card") == ([25, 28, 33] if scheme == "dark" else [255, 255, 255])
    page.emulate_media(forced_colors="active")
    assert background(page, "label:has([value=lines])") != background(page, "label:has([value=stack])")
    assert background(page, "#funnel .s0 i") != background(page, "#funnel .s1 i")
