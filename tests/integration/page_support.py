"""Input, steps and readings shared by the tests of the page."""

import datetime
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "examples" / "events.json"
REPORT = ROOT / "tests" / "files" / "report.csv"
EVENT_TYPES = ("impressions", "video_start", "video_25", "video_50", "video_75", "video_completed")
HEADER = REPORT.read_text().splitlines()[0]
APRIL = 1617231600  # 2021-04-01T00:00+01:00
FUNNEL_COUNTS = (10, 8, 6, 4, 3, 2), (50, 42, 42, 42, 31, 31), (0, 0, 0, 0, 0, 1)


def event(kind: str, timestamp: int) -> bytes:
    return json.dumps({"id": str(timestamp), "event": kind, "timestamp": timestamp}).encode() + b"\n"


def events_of(hours: int) -> bytes:
    """JSON Lines with events in each of so many hours."""
    return b"".join(
        event(EVENT_TYPES[number % 6], APRIL + 3600 * hour + number)
        for hour in range(hours)
        for number in range(hour % 24 + 1)
    )


def report(hours: Sequence[str], counts: Callable[[int], Sequence[int]]) -> str:
    """A report as CSV; counts: the six counts by row number."""
    lines = (f"{hour},{','.join(map(str, counts(number)))},0.0" for number, hour in enumerate(hours))
    return "\n".join([HEADER, *lines, ""])


def hours_from(start: str, count: int, offset: str = "+01:00") -> list[str]:
    first = datetime.datetime.fromisoformat(start)
    return [(first + datetime.timedelta(hours=hour)).isoformat() + offset for hour in range(count)]


def upload(page: Page, *files: bytes | str, name: str = "events.jsonl", field: str = "Choose event files") -> None:
    contents = [file.encode() if isinstance(file, str) else file for file in files]
    buffers: list[Any] = [
        {"name": f"{number or ''}{name}", "mimeType": "text/plain", "buffer": data}
        for number, data in enumerate(contents)
    ]
    page.get_by_label(field).set_input_files(buffers)


def show(page: Page, text: str, name: str = "shown.csv") -> None:
    """Shows a report as it is; the server is not involved."""
    upload(page, text, name=name)
    expect(page.get_by_role("heading", name=f"Report for {name}")).to_be_visible()


def expect_report(page: Page, read: str, hours: str) -> None:
    expect(page.locator("#status")).to_have_text("The report is ready.", timeout=240_000)  # the first one compiles
    expect(page.get_by_role("heading", name=re.compile("^Report for "))).to_be_focused()
    for key, value in (("read", read), ("counted", read), ("rejected", "0"), ("hours", hours)):
        expect(page.locator(f"[data-key={key}]")).to_have_text(value)
    expect(page.get_by_role("alert").get_by_role("heading")).to_have_count(0)


def expect_problem(page: Page, title: str) -> None:
    expect(page.get_by_role("alert").get_by_role("heading")).to_have_text(title, timeout=60_000)
    expect(page.get_by_role("heading", name=re.compile("^Report for "))).to_have_count(0)


def make_sample(page: Page) -> None:
    page.get_by_role("button", name="Try the sample").click()
    expect_report(page, "4,425", "24")


def write_hour(folder: Path, hour: str, impressions: int) -> None:
    """Writes the report of an hour as a stream does."""
    (folder / ".new").write_text(report([hour], lambda _: [impressions, 0, 0, 0, 0, 0]))
    os.replace(folder / ".new", folder / f"{hour[:13]}+0100.csv")


def table(page: Page) -> str:
    """The counts in the table as CSV, without rates and totals."""
    rows = page.locator("#columns, #rows tr")
    cells = rows.evaluate_all("rows => rows.map(row => [...row.cells].slice(0, 8).map(cell => cell.textContent))")
    return "".join(",".join(cell.replace(",", "") for cell in row) + "\n" for row in cells)


def displayed_hours(csv: str) -> str:
    """A report as CSV with hours as the table displays them."""
    return re.sub(r"(?m)^(\S+)T(\d\d:\d\d):00\+01:00", r"\1 \2", csv)


def figures(page: Page) -> dict[str, str]:
    pairs = page.locator("#figures > div").evaluate_all(
        "divs => divs.map(div => [...div.children].map(e => e.innerText))"
    )
    return {label: " | ".join(filter(None, values)) for label, *values in pairs}


def funnel(page: Page) -> list[str]:
    return [" ".join(text.split()) for text in page.locator("#funnel li").all_inner_texts()]


def points(page: Page, selector: str) -> list[list[float]]:
    """Positions of a line's points in pixels, without its falls to zero."""
    path = page.locator(selector).get_attribute("d") or ""
    return [[float(x), float(y)] for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{each['id']} ({each['impact']}): {node['html']}" for each in found for node in each["nodes"]]


def background(page: Page, selector: str) -> list[int]:
    """Red, green and blue, without alpha: forced colours keep the alpha of the page's own colour."""
    colour = page.locator(selector).first.evaluate("node => getComputedStyle(node).backgroundColor")
    return [int(number) for number in re.findall(r"\d+", colour)[:3]]
