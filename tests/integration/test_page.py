"""The page in a real browser against a real server.

CHROMIUM names the browser, /usr/bin/chromium by default.
"""

import gzip
import io
import json
import os
import re
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
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
REPORT = ROOT / "examples" / "report.csv"
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


def expect_report(page: Page, read: str, hours: str) -> None:
    expect(page.get_by_role("heading", name="Report", exact=True)).to_be_focused(timeout=60_000)
    for key, value in (("read", read), ("counted", read), ("rejected", "0"), ("hours", hours)):
        expect(page.locator(f"[data-key={key}]")).to_have_text(value)
    expect(page.get_by_role("status")).to_have_text("The report is ready.")
    expect(page.get_by_role("alert").get_by_role("heading")).to_have_count(0)


def expect_problem(page: Page, title: str) -> None:
    expect(page.get_by_role("alert").get_by_role("heading")).to_have_text(title, timeout=60_000)
    expect(page.get_by_role("heading", name="Report", exact=True)).to_have_count(0)


def table(page: Page) -> str:
    """The table as CSV."""
    rows = page.locator("#report tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return "".join(",".join(cell.replace(",", "") for cell in row) + "\n" for row in rows)


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
    expect(page.locator("tbody#rows tr").first).to_contain_text(re.compile("^2021-04-02 21:00300000"))
    expect(page.locator("tbody#rows tr").first).to_contain_text("0.75")
    page.get_by_label("Time zone").fill("+05:30")
    page.get_by_label("Count duplicates once").check()
    page.get_by_role("button", name="Make the report again").click()
    expect(page.locator("tbody#rows tr").first).to_contain_text("2021-04-03 01:00", timeout=60_000)
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
    assert download.value.suggested_filename == "report.csv"
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
    assert rejects(page) == [["Line", "Byte", "Reason", "Record"], ["3", ANY, ANY, line]]
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
    expect(page.get_by_text("% of 2.0 MB")).to_have_text(re.compile(r"^[1-9]\d?% "), timeout=30_000)
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
    expect(page.locator("tbody tr")).to_have_count(720)
    chart = page.get_by_role("slider", name="Hour in the chart")
    expect(chart).to_have_attribute("aria-valuemax", "720")
    box = page.get_by_role("region", name="Table")
    box.evaluate("box => box.scrollTo(0, 5000)")
    header, frame = page.locator("thead th").first.bounding_box(), box.bounding_box()
    assert header is not None
    assert frame is not None
    assert header["y"] == pytest.approx(frame["y"], abs=1)
    chart.press("End")
    expect(page.locator("#readout")).to_have_text("30 Apr 2021, 23:00: 24 events")


def test_more_hours_than_the_table_shows_at_once(page: Page) -> None:
    upload(page, b"".join(event("video_75", APRIL + 3600 * hour) for hour in range(2500)))
    expect_report(page, "2,500", "2,500")
    expect(page.locator("tbody tr")).to_have_count(1000)
    page.get_by_role("button", name="Show more").click()
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("tbody tr")).to_have_count(2500)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()


def test_values_on_hover(page: Page) -> None:
    page.get_by_role("button", name="Try the sample").click()
    expect_report(page, "6", "3")
    readout = page.locator("#readout")
    expect(readout).to_have_text("Whole report: 6 events")
    chart = page.get_by_role("slider")
    width = chart.evaluate("chart => chart.clientWidth")
    chart.hover(position={"x": width - 60, "y": 100})
    expect(readout).to_have_text("2 Apr 2021, 22:00: 3 events")
    expect(page.get_by_role("button", name="video_50")).to_have_text(re.compile("1$"))
    chart.hover(position={"x": 60, "y": 100})
    expect(readout).to_have_text("2 Apr 2021, 18:00: 2 events")
    page.get_by_role("heading", name="Table").hover()
    expect(readout).to_have_text("Whole report: 6 events")


def test_values_on_touch(open_page: Open) -> None:
    page = open_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page.get_by_role("button", name="Try the sample").tap()
    expect_report(page, "6", "3")
    chart = page.get_by_role("slider")
    chart.tap(position={"x": chart.evaluate("chart => chart.clientWidth") - 40, "y": 100})
    expect(chart).to_be_focused()
    expect(page.locator("#readout")).to_have_text("2 Apr 2021, 22:00: 3 events")


def test_time_axis_is_true_to_scale(page: Page) -> None:
    upload(page, event("video_25", APRIL) + event("video_25", APRIL + 3600) + event("video_25", APRIL + 10 * 3600))
    expect_report(page, "3", "3")
    starts = page.locator("path.bar.s2").evaluate(
        "path => path.getAttribute('d').match(/M[\\d.]+/g).map(x => +x.slice(1))"
    )
    assert starts[2] - starts[0] == pytest.approx(10 * (starts[1] - starts[0]), abs=0.1)


def test_huge_range(page: Page) -> None:
    upload(page, event("impressions", 0) + event("impressions", 253402297199))
    expect_report(page, "2", "2")
    expect(page.get_by_text("Not to scale")).to_be_visible()
    expect(page.locator("path.bar")).to_have_count(6)
    chart = page.get_by_role("slider")
    chart.press("End")
    expect(chart).to_have_attribute("aria-valuetext", "31 Dec 9999, 23:00: 1 event, impressions 1")


def test_years_of_hours(page: Page) -> None:
    upload(page, b"".join(event("impressions", APRIL + 6 * 3600 * quarter) for quarter in range(4 * 1200)))
    expect_report(page, "4,800", "4,800")
    expect(page.get_by_text("To fit, each bar is 2 days.")).to_be_visible()
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
    for kind in EVENT_TYPES:
        tab_to(kind)
        if kind == "video_25":
            page.keyboard.press("Space")
            expect(page.locator(":focus")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#readout")).to_have_text("Whole report: 3 events")
    tab_to("Hour in the chart")
    expect(page.locator(":focus")).to_have_attribute("aria-valuetext", "2 Apr 2021, 18:00: 1 event, video_start 1")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#readout")).to_have_text("2 Apr 2021, 22:00: 2 events")
    tab_to("Table")
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
    before = page.locator("#chart").bounding_box()
    page.locator("#chart").hover(position={"x": 150, "y": 50})
    expect(page.locator("#readout")).not_to_contain_text("Whole report")
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
        assert contrast(colour(page, f"#chart .s{number}", "fill"), card) >= 3, number
    assert contrast(colour(page, ".primary", "color"), colour(page, ".primary", "backgroundColor")) >= 4.5


def colour(page: Page, selector: str, name: str) -> list[float]:
    value = page.locator(selector).first.evaluate(f"node => getComputedStyle(node).{name}")
    return [int(part) / 255 for part in re.findall(r"\d+", value)[:3]]


def luminance(rgb: list[float]) -> float:
    """By WCAG 2."""
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb)
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
