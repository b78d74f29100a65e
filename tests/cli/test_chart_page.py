"""The page that shows a report as a chart."""

import json
import re
from pathlib import Path

import pytest

from tests.cli_support import succeeded
from tests.support import EXAMPLE_EVENTS, EXAMPLE_REPORT, call

pytestmark = pytest.mark.usefixtures("example_folder")


def test_chart(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, "--input", "in/events.json", "--chart_output", "chart.html")
    succeeded(result, 6)
    assert result.err.endswith(": report in report.csv, chart in chart.html\n")
    page = Path("chart.html").read_text()
    assert page.count(EXAMPLE_REPORT) == 1
    assert "<title>events.json</title>" in page
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import|https?://(?!www\.w3\.org/)""", page)
    rows = re.findall(r'<tr><th scope="row">(.*?)</th><td>(.*?)</td></tr>', page)  # what is seen without scripts
    assert [",".join((hour, *values.split("</td><td>"))) for hour, values in rows] == EXAMPLE_REPORT.splitlines()[1:]
    assert Path("report.csv").read_text() == EXAMPLE_REPORT


def test_the_name_of_a_chart_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/events.json").rename("in/<script>alert(1)<!--.json")
    succeeded(call(capsys, "--input", "in", "--chart_output", "chart.html"), 6)
    assert "<script>alert" not in Path("chart.html").read_text()


def test_the_report_is_in_the_page_whatever_the_name_of_the_input(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("{the report as CSV}", "{csv}", "{}", "{0}", "{{scripts}}", "%s"):
        Path(f"in/{name}.jsonl").write_text("\n".join(map(json.dumps, EXAMPLE_EVENTS)))
        succeeded(call(capsys, f"in/{name}.jsonl", "--chart_output", "chart.html"), 6)
        page = Path("chart.html").read_text()
        assert (page.count(EXAMPLE_REPORT), f"<title>{name}.jsonl</title>" in page) == (1, True), name
