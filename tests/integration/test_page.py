"""The page in a real browser against a real server.

CHROMIUM names the browser, /usr/bin/chromium by default.
"""

import gzip
import io
import itertools
import json
import math
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from tests.serving_support import await_true, running

ROOT = Path(__file__).resolve().parents[2]
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
SAMPLE = ROOT / "examples" / "events.json"
REPORT = ROOT / "tests" / "files" / "report.csv"
EVENT_TYPES = ("impressions", "video_start", "video_25", "video_50", "video_75", "video_completed")
APRIL = 1617231600  # 2021-04-01T00:00+01:00
FAILED_RESOURCE = "Failed to load resource"  # what Chromium itself logs for an answer of 400 and above


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


def month(hours: int = 720) -> bytes:
    """JSON Lines with some events in each hour."""
    return b"".join(
        event(EVENT_TYPES[number % 6], APRIL + 3600 * hour + number)
        for hour in range(hours)
        for number in range(hour % 24 + 1)
    )


def event(kind: str, timestamp: int) -> bytes:
    return json.dumps({"id": str(timestamp), "event": kind, "timestamp": timestamp}).encode() + b"\n"


def upload(page: Page, data: bytes, name: str = "events.jsonl") -> None:
    page.get_by_label("Choose a file").set_input_files({"name": name, "mimeType": "text/plain", "buffer": data})


def paste(page: Page, text: str) -> None:
    page.get_by_label("Or paste events").fill(text)
    page.get_by_role("button", name="Make report").click()


REPORT_HEADING = re.compile("^Report of ")


def expect_report(page: Page, read: str, hours: str) -> None:
    expect(page.get_by_role("heading", name=REPORT_HEADING)).to_be_focused(timeout=60_000)
    for key, value in (("read", read), ("counted", read), ("rejected", "0"), ("hours", hours)):
        expect(page.locator(f"[data-key={key}]")).to_have_text(value)
    expect(page.get_by_role("status")).to_have_text("The report is ready.")
    expect(page.get_by_role("alert").get_by_role("heading")).to_have_count(0)


def expect_problem(page: Page, title: str) -> None:
    expect(page.get_by_role("alert").get_by_role("heading")).to_have_text(title, timeout=60_000)
    expect(page.get_by_role("heading", name=REPORT_HEADING)).to_have_count(0)


def table(page: Page) -> str:
    """The table's counts as CSV, without rates and totals."""
    rows = page.locator("#columns, #rows tr")
    cells = rows.evaluate_all("rows => rows.map(row => [...row.cells].slice(0, 8).map(cell => cell.textContent))")
    return "".join(",".join(cell.replace(",", "") for cell in row) + "\n" for row in cells)


def rejects(page: Page) -> list[list[str]]:
    """The table of invalid records, with its head."""
    rows = page.get_by_role("alert").locator("tr")
    cells: list[list[str]] = rows.evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.textContent))")
    return cells


def as_shown(report: str) -> str:
    return re.sub(r"(?m)^(\S+)T(\d\d:\d\d):00\+01:00", r"\1 \2", report)


def answer(page: Page, status: int, body: str = "", **headers: str) -> None:
    """From now on posts get this answer."""

    def fulfill(route: Route) -> None:
        if route.request.method != "POST":
            return route.continue_()
        return route.fulfill(status=status, body=body, headers={"Content-Type": "application/problem+json", **headers})

    page.route("**/", fulfill)


def problem(detail: str) -> str:
    return json.dumps({"type": "about:blank", "title": "error", "status": 0, "detail": detail})


def test_upload_by_picker(page: Page) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Choose a file").click()
    chooser.value.set_files(SAMPLE)
    expect_report(page, "6", "3")
    assert table(page) == as_shown(REPORT.read_text())


def test_the_same_file_can_be_sent_twice(page: Page) -> None:
    upload(page, b"[")
    expect_problem(page, "This could not be read")
    upload(page, SAMPLE.read_bytes())
    expect_report(page, "6", "3")


def test_drop(page: Page) -> None:
    transfer = page.evaluate_handle(
        "text => { const data = new DataTransfer(); data.items.add(new File([text], 'events.json')); return data; }",
        SAMPLE.read_text(),
    )
    page.dispatch_event("#drop", "dragover", {"dataTransfer": transfer})
    expect(page.locator("#drop")).to_have_class("drop over")
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    expect_report(page, "6", "3")
    expect(page.locator("#drop")).to_have_class("drop")


def test_two_files_are_not_taken(page: Page) -> None:
    transfer = page.evaluate_handle(
        "() => { const data = new DataTransfer(); 'ab'.split('').forEach(name => data.items.add(new File([], name)));"
        " return data; }"
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    expect(page.get_by_role("status")).to_have_text("One file at a time, please.")


def test_paste(page: Page) -> None:
    paste(page, SAMPLE.read_text())
    expect_report(page, "6", "3")
    assert table(page) == as_shown(REPORT.read_text())


def test_nothing_pasted(page: Page) -> None:
    page.get_by_role("button", name="Make report").click()
    expect(page.get_by_role("status")).to_have_text("Paste some events first, or choose a file.")
    expect(page.get_by_label("Or paste events")).to_be_focused()


def test_sample(page: Page) -> None:
    page.get_by_role("button", name="Try the sample").click()
    expect_report(page, "6", "3")
    assert table(page) == as_shown(REPORT.read_text())
    expect(page.get_by_label("Or paste events")).to_have_value(re.compile("c8e3-ace6-4852-a32f"))


def test_sample_leaves_pasted_text_alone(page: Page) -> None:
    page.get_by_label("Or paste events").fill("mine")
    page.get_by_role("button", name="Try the sample").click()
    expect_report(page, "6", "3")
    expect(page.get_by_label("Or paste events")).to_have_value("mine")


@pytest.mark.parametrize("name", ["events.json.gz", "events"])
def test_gzip_is_declared(page: Page, name: str) -> None:
    with page.expect_request(lambda request: request.method == "POST") as request:
        upload(page, gzip.compress(SAMPLE.read_bytes()), name)
    assert request.value.headers["content-encoding"] == "gzip"
    expect_report(page, "6", "3")


def test_zstd_is_declared(page: Page) -> None:
    with page.expect_request(lambda request: request.method == "POST") as request:
        upload(page, pa.compress(SAMPLE.read_bytes(), "zstd", asbytes=True))
    assert request.value.headers["content-encoding"] == "zstd"
    expect_report(page, "6", "3")


def test_parquet(page: Page) -> None:
    data = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(json.loads(SAMPLE.read_text())["mock_for_test"]), data)
    upload(page, data.getvalue(), "events.parquet")
    expect_report(page, "6", "3")
    assert table(page) == as_shown(REPORT.read_text())


def test_options_of_a_report(page: Page) -> None:
    data = event("impressions", 1617393003) + b"nonsense\n" + event("impressions", 1617393003) * 2
    expect(page.get_by_label("Time zone")).to_have_value("+01:00")
    page.get_by_label("Time zone").fill("Europe/Paris")
    page.get_by_label("Impressions scaled by").fill("0.25")
    page.get_by_label("Leave out invalid records").check()
    with page.expect_request(lambda request: request.method == "POST") as request:
        upload(page, data)
    query = "?time_zone=Europe%2FParis&impressions_factor=0.25&rejects=skip"
    assert request.value.url.endswith(query)
    expect(page.locator("[data-key=rejected]")).to_have_text("1", timeout=60_000)
    expect(page.locator("#rows tr").first).to_contain_text(re.compile("^2021-04-02 21:00300000"))
    expect(page.locator("#rows tr").first).to_contain_text("0.75")
    page.get_by_label("Time zone").fill("+05:30")
    page.get_by_label("Count duplicates once").check()
    page.get_by_role("button", name="Make the report again").click()
    expect(page.locator("#rows tr").first).to_contain_text("2021-04-03 01:00", timeout=60_000)
    expect(page.locator("[data-key=counted]")).to_have_text("1")


def test_an_option_that_does_not_work(page: Page) -> None:
    page.get_by_label("Time zone").fill("Europe/Pari")
    paste(page, SAMPLE.read_text())
    expect_problem(page, "This option does not work")
    expect(page.get_by_role("alert")).to_contain_text("Europe/Pari")


def test_plain_is_not_declared_as_gzip(page: Page) -> None:
    with page.expect_request(lambda request: request.method == "POST") as request:
        upload(page, SAMPLE.read_bytes())
    assert "content-encoding" not in request.value.headers


def test_download_is_the_answer_of_the_server(page: Page, address: str, tmp_path: Path) -> None:
    data = month(100)
    upload(page, data)
    expect_report(page, "1,210", "100")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    assert download.value.suggested_filename == "events.csv"
    download.value.save_as(tmp_path / "report.csv")
    with urllib.request.urlopen(address, data) as response:
        assert (tmp_path / "report.csv").read_bytes() == response.read()


def test_no_events(page: Page) -> None:
    paste(page, "[]")
    expect(page.get_by_role("status")).to_have_text("The report is ready: it has no events.")
    expect(page.get_by_role("slider")).to_have_count(0)


def test_rejects_with_their_index(page: Page) -> None:
    paste(
        page, json.dumps([{"id": "a", "event": "click", "timestamp": 1}, {"id": 5}, json.loads(event("video_25", 1))])
    )
    expect_problem(page, "Some records are not events")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("2 of 3 records are invalid")
    assert rejects(page) == [
        ["Index", "Byte", "Reason", "Record"],
        ["0", ANY, ANY, '{"id": "a", "event": "click", "timestamp": 1}'],
        ["1", ANY, ANY, '{"id": 5}'],
    ]
    expect(alert.get_by_role("row")).to_contain_text(["Reason", "unknown event 'click'", "missing event and timestamp"])


@pytest.mark.parametrize(
    ("line", "mark"),
    [
        ('{"id": "a", "event": "click", "timestamp": 1}', "click"),
        ('{"id": 5, "event": "video_25", "timestamp": 1}', '"id": 5'),
        ('{"id": "a", "event": "video_25", "timestamp": "1"}', '"timestamp": "1"'),
        ('{"id": "a", "event": "video_25"}', '{"id": "a", "event": "video_25"}'),
        ('{"id": "a", "event": "video_25", "timestamp": 1,}', "}"),
        ('{"id": "a", "event": "<b>x</b>", "timestamp": 1}', "<b>x</b>"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_rejects_with_their_line_and_the_text_marked(
    page: Page, line: str, mark: str, pack: Callable[[bytes], bytes]
) -> None:
    upload(page, pack(event("video_25", 1) + b"\n" + line.encode() + b"\n"))
    expect_problem(page, "Some records are not events")
    assert rejects(page) == [["Line", "Index", "Byte", "Reason", "Record"], ["3", ANY, ANY, ANY, line]]
    expect(page.get_by_role("alert").locator("mark")).to_have_text(mark)


def test_rejects_beyond_the_first_ten(page: Page) -> None:
    upload(page, b"nonsense\n" * 25)
    expect_problem(page, "Some records are not events")
    expect(page.locator("#rejects tr")).to_have_count(10)
    expect(page.get_by_text("And 15 more.")).to_be_visible()


def test_broken_array(page: Page) -> None:
    paste(page, '[{"id": "a", "event": "video_25", "timestamp": 1617393003},')
    expect_problem(page, "This could not be read")
    expect(page.locator("#problem-detail")).to_have_text(re.compile(r"\w{4}"))
    expect(page.get_by_role("button", name="Send again")).to_be_hidden()


def test_text_of_the_server_is_no_markup(page: Page) -> None:
    paste(page, '{"id": "a", "event": "<img src=x onerror=alert(1)>", "timestamp": 1}')
    expect_problem(page, "Some records are not events")
    expect(page.locator("#rejects")).to_contain_text("<img src=x onerror=alert(1)>")
    expect(page.get_by_role("alert").locator("img")).to_have_count(0)


def test_a_report_takes_the_place_of_an_error_and_the_other_way_round(page: Page) -> None:
    page.get_by_role("button", name="Try the sample").click()
    expect_report(page, "6", "3")
    upload(page, b"nonsense")
    expect_problem(page, "Some records are not events")
    page.get_by_role("button", name="Try the sample").click()
    expect_report(page, "6", "3")


def test_too_large(open_page: Open, tmp_path: Path) -> None:
    with running(tmp_path / "tmp", "--processes", "1", "--max_body_bytes", "1000") as server:
        page = open_page(server.address)
        expect(page.get_by_text("up to 1,000 bytes (also when unpacked)")).to_be_visible()
        with page.expect_request(lambda request: request.method == "POST"):
            upload(page, gzip.compress(b" " * 9000))
        expect_problem(page, "This is too large")
        page.on("request", lambda request: pytest.fail("sent"))
        upload(page, month(30))
        expect_problem(page, "This is too large")
        expect(page.get_by_role("alert")).to_contain_text("the limit of this server is 1,000 bytes")


@pytest.mark.parametrize(
    ("status", "title", "words"),
    [
        (413, "This is too large", "smaller parts"),
        (415, "The server does not read this compression", "compressed with gzip"),
        (500, "The server failed", "Try it again later"),
        (502, "The server failed", "Try it again later"),
        (418, "The server answered with status 418", "the detail"),
    ],
)
def test_refusals_in_words(page: Page, status: int, title: str, words: str) -> None:
    answer(page, status, problem("the detail"))
    page.get_by_role("button", name="Try the sample").click()
    expect_problem(page, title)
    expect(page.get_by_role("alert")).to_contain_text(words)
    expect(page.get_by_role("alert")).to_contain_text("the detail")


@pytest.mark.parametrize("body", ["<html>Bad gateway</html>", "null", "[]", '"text"', '{"detail": null, "rejects": 5}'])
def test_answers_that_are_no_problem_document(page: Page, body: str) -> None:
    answer(page, 502, body)
    page.get_by_role("button", name="Try the sample").click()
    expect_problem(page, "The server failed")


def test_an_answer_that_is_no_report(page: Page) -> None:
    answer(page, 200, "<html>Please sign in</html>")
    page.get_by_role("button", name="Try the sample").click()
    expect_problem(page, "The server answered with status 200")


def test_busy(open_page: Open, tmp_path: Path) -> None:
    """The only slot makes a report that takes seconds, and nobody may wait for it."""
    with running(tmp_path / "tmp", "--processes", "1", "--slots", "1", "--queue", "0") as server:
        page = open_page(server.address)
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(server.post, b"x\n" * 30_000_000)
            await_true(lambda: server.is_running_large)
            page.get_by_role("button", name="Try the sample").click()
            expect_problem(page, "The server is busy")
            expect(page.get_by_role("alert")).to_contain_text("in 2 s.")
            assert slow.result().status == 400
        page.get_by_role("button", name="Send again").click()
        expect_report(page, "6", "3")


def test_busy_without_a_time(page: Page) -> None:
    answer(page, 503, problem("all slots are busy"), **{"Retry-After": "soon"})
    page.get_by_role("button", name="Try the sample").click()
    expect_problem(page, "The server is busy")
    expect(page.get_by_role("alert")).to_contain_text("in a moment.")


def test_token(open_page: Open, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("right")
    with running(tmp_path / "tmp", "--processes", "1", "--token_file", str(tmp_path / "token")) as server:
        page = open_page(server.address)
        page.get_by_role("button", name="Try the sample").click()
        expect_problem(page, "This server asks for a token")
        expect(page.get_by_role("textbox", name="Token")).to_be_focused()
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        expect_problem(page, "The server does not accept this token")
        page.get_by_role("textbox", name="Token").fill("not \N{SNOWMAN} Latin")
        page.keyboard.press("Enter")
        expect_problem(page, "This token cannot be sent")
        page.get_by_role("textbox", name="Token").fill("right")
        page.keyboard.press("Enter")
        expect_report(page, "6", "3")
        assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


def test_no_connection(page: Page) -> None:
    page.route("**/", lambda route: route.abort())
    page.get_by_role("button", name="Try the sample").click()
    expect_problem(page, "The connection failed")
    page.unroute_all()
    page.get_by_role("button", name="Send again").click()
    expect_report(page, "6", "3")


def test_progress_and_cancel(page: Page) -> None:
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 100_000},
    )
    expect(page.get_by_role("progressbar")).to_be_hidden()
    upload(page, b" " * 2_000_000)
    expect(page.get_by_role("status")).to_have_text("Sending events.jsonl …")
    expect(page.get_by_text("% of 1.9 MiB")).to_have_text(re.compile(r"^[1-9]\d?% "), timeout=30_000)
    assert 0 < page.get_by_role("progressbar").evaluate("bar => bar.value") < 1
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status")).to_have_text("Cancelled.")
    expect(page.get_by_role("button", name="Make report")).to_be_focused()
    expect(page.get_by_role("progressbar")).to_be_hidden()


def test_cancel_by_escape_keeps_the_earlier_report(page: Page) -> None:
    page.get_by_role("button", name="Try the sample").click()
    expect_report(page, "6", "3")
    page.route("**/", lambda route: None)
    upload(page, b"[]")
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("status")).to_have_text("Cancelled.")
    assert table(page) == as_shown(REPORT.read_text())


def test_720_hours(page: Page) -> None:
    upload(page, month())
    expect_report(page, "9,000", "720")
    expect(page.locator("#rows tr")).to_have_count(720)
    chart = page.get_by_role("slider", name="Hour in the chart")
    expect(chart).to_have_attribute("aria-valuemax", "720")
    box = page.get_by_role("region", name="Table")
    box.evaluate("box => box.scrollTo(0, 5000)")
    header, frame = page.locator("#columns th").first.bounding_box(), box.bounding_box()
    assert header is not None
    assert frame is not None
    assert header["y"] == pytest.approx(frame["y"], abs=1)
    chart.press("End")
    expect(page.locator("#readout")).to_have_text("30 Apr 2021, 23:00: completion rate 100%")


def test_more_hours_than_the_table_shows_at_once(page: Page) -> None:
    upload(page, b"".join(event("video_75", APRIL + 3600 * hour) for hour in range(2500)))
    expect_report(page, "2,500", "2,500")
    expect(page.locator("#rows tr")).to_have_count(1000)
    page.get_by_role("button", name="Show more").click()
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("#rows tr")).to_have_count(2500)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()


def test_values_on_hover(page: Page) -> None:
    page.get_by_role("button", name="Try the sample").click()
    expect_report(page, "6", "3")
    readout, tip = page.locator("#readout"), page.locator("#tip")
    expect(readout).to_have_text("Whole report: completion rate 100%")
    expect(tip).to_be_hidden()
    chart = page.get_by_role("slider")
    width = chart.evaluate("chart => chart.clientWidth")
    chart.hover(position={"x": width - 60, "y": 100})
    expect(readout).to_have_text("2 Apr 2021, 22:00: completion rate \N{EN DASH}")
    expect(page.locator("#legend .toggle")).to_contain_text(list("001101"))
    expect(tip.locator("b")).to_have_text("2 Apr 2021, 22:00")
    chart.hover(position={"x": 60, "y": 100})
    expect(tip.locator("b")).to_have_text("2 Apr 2021, 18:00")
    names = (*EVENT_TYPES, "impressions_scaled")
    values = ("0", "1", "1100%", "00%", "00%", "00%", "0.0")  # counts, and rates behind those of stages
    expect(tip.locator("tr")).to_have_text([name + value for name, value in zip(names, values, strict=True)])
    box, plot = tip.bounding_box(), chart.bounding_box()
    assert box is not None
    assert plot is not None
    assert 60 < box["x"] - plot["x"] < 300
    page.get_by_role("heading", name="Table").hover()
    expect(readout).to_have_text("Whole report: completion rate 100%")
    expect(tip).to_be_hidden()


def test_values_on_touch(open_page: Open) -> None:
    page = open_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page.get_by_role("button", name="Try the sample").tap()
    expect_report(page, "6", "3")
    chart = page.get_by_role("slider")
    chart.tap(position={"x": chart.evaluate("chart => chart.clientWidth") - 40, "y": 100})
    expect(chart).to_be_focused()
    expect(page.locator("#tip b")).to_have_text("2 Apr 2021, 22:00")
    tip = page.locator("#tip").bounding_box()
    assert tip is not None
    assert tip["x"] >= 0
    assert tip["x"] + tip["width"] <= 360


FUNNEL = b"".join(
    event(kind, APRIL + 3600 * hour + number)
    for hour, counts in enumerate([(10, 8, 6, 4, 3, 2), (5, 2, 2, 2, 1, 1), (0, 0, 0, 0, 0, 1)])
    for kind, count in zip(EVENT_TYPES, counts, strict=True)
    for number in range(count)
)


def open_funnel(page: Page) -> None:
    upload(page, FUNNEL, "funnel.jsonl")
    expect_report(page, "47", "3")


def test_figures(page: Page) -> None:
    open_funnel(page)
    assert figures(page) == {
        "Completion rate": "40%",
        "Reached 25 %": "80%",
        "Reached 50 %": "60%",
        "Reached 75 %": "40%",
        "Impressions": "15",
        "Impressions scaled": "1.5",
        "First hour": "2021-04-01 00:00",
        "Last hour": "2021-04-01 02:00",
    }


def figures(page: Page) -> dict[str, str]:
    pairs = page.locator("#figures > div").evaluate_all(
        "divs => divs.map(div => [...div.children].map(e => e.innerText))"
    )
    return {label: value for label, value, _ in pairs}


def test_rates_by_hour_and_totals(page: Page) -> None:
    open_funnel(page)
    rates = "#rows tr, #totals"
    cells = page.locator(rates).evaluate_all("rows => rows.map(row => [...row.cells].slice(8).map(c => c.textContent))")
    assert cells == [
        ["75%", "50%", "37.5%", "25%"],
        ["100%", "100%", "50%", "50%"],
        ["\N{EN DASH}", "\N{EN DASH}", "\N{EN DASH}", "\N{EN DASH}"],
        ["80%", "60%", "40%", "40%"],
    ]
    expect(page.locator("#totals")).to_have_text(re.compile(r"^Total15108644" + re.escape("1.5")))


def test_lines_are_the_default_and_stack_and_rates_a_choice(page: Page) -> None:
    open_funnel(page)
    expect(page.get_by_role("radio", name="Lines")).to_be_checked()
    expect(page.locator("path.line")).to_have_count(6)
    expect(page.locator("path.bar")).to_have_count(0)
    page.get_by_text("Stack", exact=True).click()
    expect(page.locator("path.bar")).to_have_count(6)
    expect(page.locator("path.line")).to_have_count(0)
    page.get_by_text("Rates", exact=True).click()
    expect(page.locator("path.line")).to_have_count(4)
    expect(page.locator("#chart")).to_contain_text("Share of video_start")
    page.get_by_text("Panels", exact=True).click()
    expect(page.locator("#chart .title")).to_have_text([*EVENT_TYPES])
    page.get_by_role("radio", name="Panels").press("ArrowLeft")
    expect(page.get_by_role("radio", name="Lines")).to_be_checked()


def test_a_line_goes_down_to_zero_where_there_were_no_events(page: Page) -> None:
    upload(page, event("impressions", APRIL) * 4 + event("impressions", APRIL + 10 * 3600) * 4)
    expect_report(page, "8", "2")
    path = page.locator("path.line.s0").get_attribute("d") or ""
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", path)]
    assert heights[0] == heights[-1] == 0
    assert max(heights) == float(page.locator("#chart .band").get_attribute("height") or 0)


def test_only_one_series(page: Page) -> None:
    open_funnel(page)
    page.get_by_role("button", name="Only video_75").click()
    expect(page.locator("path.line")).to_have_class(["line s4"])
    expect(page.get_by_role("button", name="Only video_75")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Only video_25").click()
    expect(page.locator("path.line")).to_have_class(["line s2"])
    page.get_by_role("button", name="Only video_25").click()
    expect(page.locator("path.line")).to_have_count(6)


def test_zoom_by_dragging(page: Page) -> None:
    upload(page, month())
    expect_report(page, "9,000", "720")
    chart = page.get_by_role("slider")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    slot = (box["width"] - 56) / 720
    page.mouse.move(box["x"] + 44 + 48.5 * slot, box["y"] + 90)
    page.mouse.down()
    page.mouse.move(box["x"] + 44 + 60 * slot, box["y"] + 90)
    page.mouse.move(box["x"] + 44 + 95.5 * slot, box["y"] + 90)
    expect(page.locator(".brush")).to_be_visible()
    page.mouse.up()
    expect(page.locator("#zoomed")).to_contain_text("48 of 720 hours: 3 Apr 2021, 00:00 \N{EN DASH} 4 Apr 2021, 23:00")
    expect(chart).to_have_attribute("aria-valuemax", "48")
    assert figures(page)["First hour"] == "2021-04-03 00:00"
    page.get_by_role("button", name="All hours").click()
    expect(chart).to_have_attribute("aria-valuemax", "720")
    assert figures(page)["First hour"] == "2021-04-01 00:00"


def test_zoom_by_keyboard(page: Page) -> None:
    upload(page, month(100))
    expect_report(page, "1,210", "100")
    chart = page.get_by_role("slider")
    chart.press("End")
    chart.press("+")
    chart.press("+")
    expect(page.locator("#zoomed")).to_contain_text("25 of 100 hours: 4 Apr 2021, 03:00 \N{EN DASH} 5 Apr 2021, 03:00")
    expect(page.locator("#readout")).to_contain_text("5 Apr 2021, 03:00")
    chart.press("Home")
    chart.press("ArrowLeft")
    expect(page.locator("#zoomed")).to_contain_text("25 of 100 hours: 3 Apr 2021, 15:00")
    chart.press("-")
    expect(chart).to_have_attribute("aria-valuemax", "50")
    chart.press("0")
    expect(page.locator("#zoomed")).to_have_text("All hours are shown.")
    expect(chart).to_have_attribute("aria-valuemax", "100")


def test_sorted_columns(page: Page) -> None:
    open_funnel(page)
    first = page.locator("#rows th")
    expect(page.get_by_role("columnheader", name="hour")).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("button", name="Completion rate").click()
    expect(page.get_by_role("columnheader", name="Completion rate")).to_have_attribute("aria-sort", "descending")
    expect(page.get_by_role("button", name="Completion rate")).to_be_focused()
    expect(first).to_have_text(["2021-04-01 01:00", "2021-04-01 00:00", "2021-04-01 02:00"])
    page.get_by_role("button", name="Completion rate").click()
    expect(first).to_have_text(["2021-04-01 00:00", "2021-04-01 01:00", "2021-04-01 02:00"])
    page.get_by_role("button", name="impressions", exact=True).click()
    page.get_by_role("button", name="impressions", exact=True).click()
    expect(first).to_have_text(["2021-04-01 02:00", "2021-04-01 01:00", "2021-04-01 00:00"])


@pytest.mark.parametrize("secure", [True, False])
def test_copy_table(page: Page, secure: bool) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    if not secure:  # as at an http:// address that is not this machine
        page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(); }")
    open_funnel(page)
    page.get_by_role("button", name="Copy table").click()
    expect(page.locator("#copied")).to_have_text("Copied 3 hours.")
    lines = page.evaluate("navigator.clipboard.readText()").split("\n")
    assert lines[1] == "2021-04-01T00:00:00+01:00\t10\t8\t6\t4\t3\t2\t1.0\t75%\t50%\t37.5%\t25%"
    assert lines[-1] == "Total\t15\t10\t8\t6\t4\t4\t1.5\t80%\t60%\t40%\t40%"
    assert len(lines) == 5


def test_the_name_of_the_file(page: Page) -> None:
    upload(page, gzip.compress(FUNNEL), "April of 2021.jsonl.gz")
    expect_report(page, "47", "3")
    expect(page.get_by_role("heading", name="Report of April of 2021.jsonl.gz")).to_be_visible()
    expect(page).to_have_title("April of 2021.jsonl.gz \N{EN DASH} Hourly report")
    expect(page.get_by_role("link", name="Download CSV")).to_have_attribute("download", "April-of-2021.csv")


def test_the_hours_of_a_night_when_clocks_change(page: Page) -> None:
    night = 1635634800  # 2021-10-31T01:00+02:00
    page.get_by_label("Time zone").fill("Europe/Paris")
    upload(page, b"".join(event("impressions", night + 3600 * hour) for hour in range(6)))
    expect_report(page, "6", "6")
    hours = page.locator("#rows th").all_text_contents()
    assert [hour[11:] for hour in hours] == [
        "01:00 +02:00",
        "02:00 +02:00",
        "02:00 +01:00",
        "03:00 +01:00",
        "04:00 +01:00",
        "05:00 +01:00",
    ]
    places = page.locator("circle.s0").evaluate_all("dots => dots.map(dot => +dot.getAttribute('cx'))")
    steps = [after - before for before, after in itertools.pairwise(places)]
    assert steps == [pytest.approx(steps[0], abs=0.2)] * 5
    page.get_by_role("slider").press("End")
    expect(page.locator("#readout")).to_contain_text("31 Oct 2021, 05:00 (UTC+01:00)")


def test_720_hours_on_a_phone(open_page: Open) -> None:
    """Each event type has a panel of its own, as wide as the screen, with its own scale."""
    page = open_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    upload(page, month())
    expect_report(page, "9,000", "720")
    expect(page.get_by_role("radio", name="Panels")).to_be_checked()
    expect(page.locator("#chart .title")).to_have_text([*EVENT_TYPES])
    expect(page.get_by_text("To fit, each point is 3 hours.")).to_be_visible()
    boxes = page.locator("path.line").evaluate_all("lines => lines.map(line => line.getBoundingClientRect().width)")
    assert min(boxes) > 230
    cut = page.locator("#legend .toggle").evaluate_all("all => all.map(each => each.scrollWidth - each.clientWidth)")
    assert cut == [0] * 6
    sizes = page.locator("#chart text").evaluate_all("texts => texts.map(text => getComputedStyle(text).fontSize)")
    assert set(sizes) == {"12px"}


def test_time_axis_is_true_to_scale(page: Page) -> None:
    upload(page, event("video_25", APRIL) + event("video_25", APRIL + 3600) + event("video_25", APRIL + 10 * 3600))
    expect_report(page, "3", "3")
    page.get_by_text("Stack", exact=True).click()
    starts = page.locator("path.bar.s2").evaluate(
        "path => path.getAttribute('d').match(/M[\\d.]+/g).map(x => +x.slice(1))"
    )
    assert starts[2] - starts[0] == pytest.approx(10 * (starts[1] - starts[0]), abs=0.1)


def test_huge_range(page: Page) -> None:
    upload(page, event("impressions", 0) + event("impressions", 253402297199))
    expect_report(page, "2", "2")
    expect(page.get_by_text("Not to scale")).to_be_visible()
    expect(page.locator("path.line")).to_have_count(6)
    chart = page.get_by_role("slider")
    chart.press("End")
    expect(chart).to_have_attribute("aria-valuetext", re.compile("^31 Dec 9999, 23:00: impressions 1,"))


def test_years_of_hours(page: Page) -> None:
    upload(page, b"".join(event("impressions", APRIL + 6 * 3600 * quarter) for quarter in range(4 * 1200)))
    expect_report(page, "4,800", "4,800")
    expect(page.get_by_text("To fit, each point is 2 days.")).to_be_visible()
    expect(page.locator("#chart")).to_contain_text("1 Jan")


def test_keyboard_only(page: Page, tmp_path: Path) -> None:
    def tab_to(name: str) -> None:
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        expect(focused).to_have_accessible_name(re.compile(name))
        assert page.evaluate(
            "getComputedStyle(document.activeElement.id === 'file' ? drop : document.activeElement).outlineStyle"
        ) in ("solid", "auto")

    tab_to("Choose a file")
    tab_to("Or paste events")
    page.keyboard.insert_text(SAMPLE.read_text())
    for option in ("Time zone", "Impressions scaled by", "Leave out invalid", "Count duplicates"):
        tab_to(option)
    tab_to("Try the sample")
    tab_to("Make report")
    page.keyboard.press("Enter")
    expect_report(page, "6", "3")
    tab_to("Download CSV")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert Path(download.value.path()).read_text() == REPORT.read_text()
    tab_to("Lines")
    tab_to("Zoom in")
    for kind in EVENT_TYPES:
        tab_to(f"^{kind}")
        if kind == "video_25":
            page.keyboard.press("Space")
            expect(page.locator(":focus")).to_have_attribute("aria-pressed", "false")
        tab_to(f"Only {kind}")
    expect(page.locator("path.line")).to_have_count(5)
    tab_to("Hour in the chart")
    values = "impressions 0, video_start 1, video_50 0, video_75 0, video_completed 0, completion rate 0%"
    expect(page.locator(":focus")).to_have_attribute("aria-valuetext", f"2 Apr 2021, 18:00: {values}")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tip b")).to_have_text("2 Apr 2021, 22:00")
    tab_to("Copy table")
    tab_to("Table")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Home")
    expect(page.locator(":focus")).to_have_attribute("aria-valuenow", "1")


def test_control_enter_sends_the_pasted_text(page: Page) -> None:
    page.get_by_label("Or paste events").fill(SAMPLE.read_text())
    page.keyboard.press("Control+Enter")
    expect_report(page, "6", "3")


@pytest.mark.parametrize("data", [SAMPLE.read_bytes(), month(), b"nonsense" * 99, event("impressions" * 20, 1)])
def test_a_phone_scrolls_in_one_direction(open_page: Open, data: bytes) -> None:
    page = open_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    upload(page, data)
    expect(page.locator("#report:visible, #problem:visible")).to_have_count(1, timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_moves_but_below_what_is_there(open_page: Open, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 740})
    page.evaluate(
        "window.shifts = []; const note = list => shifts.push(...list.getEntries().map(entry => entry.value));"
        "new PerformanceObserver(note).observe({type: 'layout-shift', buffered: true})"
    )
    upload(page, month())
    expect_report(page, "9,000", "720")
    upload(page, SAMPLE.read_bytes())
    expect_report(page, "6", "3")
    upload(page, b"nonsense")
    expect_problem(page, "Some records are not events")
    page.evaluate("new Promise(requestAnimationFrame)")
    assert sum(page.evaluate("shifts")) < 0.001  # a text flush right that gets shorter counts as one that moves


def test_hovering_moves_nothing(open_page: Open) -> None:
    page = open_page(viewport={"width": 360, "height": 740})
    upload(page, month())
    expect_report(page, "9,000", "720")
    page.locator("#chart").scroll_into_view_if_needed()
    before = page.locator("#chart").bounding_box()
    page.locator("#chart").hover(position={"x": 150, "y": 50})
    expect(page.locator("#readout")).not_to_contain_text("Whole report")
    expect(page.locator("#tip")).to_be_visible()
    assert page.locator("#chart").bounding_box() == before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(open_page: Open, scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    page.get_by_role("button", name="Try the sample").click()
    expect_report(page, "6", "3")
    card = colour(page, ".card", "backgroundColor")
    assert (luminance(card) > 0.5) == (scheme == "light")
    for text in ("h1", "header p", ".drop strong", "label", "#readout", "td", ".zero", "thead th"):
        assert contrast(colour(page, text, "color"), card) >= 4.5, text
    for number in range(6):
        assert contrast(colour(page, f"#chart .line.s{number}", "stroke"), card) >= 3, number
    series = [colour(page, f"#chart .line.s{number}", "stroke") for number in range(6)]
    for one, other in itertools.pairwise(series):
        assert contrast(one, other) >= 1.5, (one, other)
    for name, sight in SIGHTS.items():
        for one, other in itertools.combinations([perceived(rgb, sight) for rgb in series], 2):
            assert math.dist(one, other) > 0.06, (name, one, other)
    assert contrast(colour(page, ".primary", "color"), colour(page, ".primary", "backgroundColor")) >= 4.5


def colour(page: Page, selector: str, name: str) -> list[float]:
    value = page.locator(selector).first.evaluate(f"node => getComputedStyle(node).{name}")
    return [int(part) / 255 for part in re.findall(r"\d+", value)[:3]]


SIGHTS = {
    "full": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "deuteranopia": ((0.367, 0.861, -0.228), (0.28, 0.673, 0.047), (-0.012, 0.043, 0.969)),
    "tritanopia": ((1.256, -0.077, -0.179), (-0.078, 0.931, 0.148), (0.005, 0.691, 0.304)),
}
"""Of linear RGB, by Machado and others 2009."""


def linear(rgb: list[float]) -> list[float]:
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb]


def perceived(rgb: list[float], sight: Sequence[Sequence[float]]) -> list[float]:
    """In Oklab, where distances are those that an eye sees."""
    seen = apply(sight, linear(rgb))
    cones = apply(((0.4122, 0.5363, 0.0514), (0.2119, 0.6807, 0.1074), (0.0883, 0.2817, 0.63)), seen)
    roots = [max(0, cone) ** (1 / 3) for cone in cones]
    return apply(((0.2105, 0.7936, -0.0041), (1.978, -2.4286, 0.4506), (0.0259, 0.7828, -0.8087)), roots)


def apply(matrix: Sequence[Sequence[float]], vector: Sequence[float]) -> list[float]:
    return [sum(x * y for x, y in zip(row, vector, strict=True)) for row in matrix]


def luminance(rgb: list[float]) -> float:
    """By WCAG 2."""
    red, green, blue = linear(rgb)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: list[float], other: list[float]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_reduced_motion(open_page: Open, motion: str) -> None:
    page = open_page(reduced_motion=motion)
    page.route("**/", lambda route: None)
    page.get_by_role("button", name="Try the sample").click()
    page.get_by_role("progressbar").evaluate("bar => bar.removeAttribute('value')")  # as between upload and answer
    animations = page.evaluate("document.getAnimations().map(animation => animation.animationName)")
    assert ("sweep" in animations) == (motion == "no-preference")


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_that_axe_finds(open_page: Open, scheme: str, width: int) -> None:
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 740})
    assert violations(page) == []
    upload(page, b"nonsense\n" * 25)
    expect_problem(page, "Some records are not events")
    assert violations(page) == []
    open_funnel(page)
    page.get_by_role("slider").press("Home")
    for mode in ("Panels", "Stack", "Rates", "Lines"):
        page.get_by_text(mode, exact=True).click()
        assert violations(page) == []


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{each['id']} ({each['impact']}): {node['html']}" for each in found for node in each["nodes"]]


@pytest.mark.parametrize("width", [360, 1280])
def test_a_report_with_its_chart_in_one_file(open_page: Open, tmp_path: Path, width: int) -> None:
    (tmp_path / "funnel.jsonl").write_bytes(FUNNEL)
    command = [sys.executable, "-m", "pipeline", "funnel.jsonl", "--chart_output", "chart.html"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    page = open_page("about:blank", viewport={"width": width, "height": 740}, offline=True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"file://{tmp_path}/chart.html")
    expect(page.get_by_role("heading", name="Report of funnel.jsonl")).to_be_visible()
    expect(page).to_have_title("funnel.jsonl \N{EN DASH} Hourly report")
    assert figures(page)["Completion rate"] == "40%"
    assert table(page) == as_shown((tmp_path / "report.csv").read_text())
    expect(page.locator("path.line")).to_have_count(6)
    chart = page.get_by_role("slider")
    chart.press("End")
    expect(page.locator("#tip b")).to_have_text("1 Apr 2021, 02:00")
    chart.press("+")
    expect(page.locator("#zoomed")).to_contain_text("2 of 3 hours")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    assert download.value.suggested_filename == "funnel.csv"
    assert Path(download.value.path()).read_bytes() == (tmp_path / "report.csv").read_bytes()
    assert violations(page) == []
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []
