"""The benchmark's own arithmetic: targets, the fitted line, the page and the chart."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench.events import batches, write
from bench.measuring import DUCKDB, OURS, SMALL, STOCK, Case, Usage
from bench.page import fit, page
from bench.rows import ROWS, Row
from pipeline.formats.decoding import Block

MB = 1_000_000


def case(program: str, seconds: float, events: int = 1000, peak_mb: int = 100, scale: int = 1) -> Case:
    usages = [Usage(seconds + spread, 2 * seconds, peak_mb * MB) for spread in (0.0, -0.25, 0.5)]
    return Case(program, "counts", Path("events.jsonl"), events, scale, usages)


def row(name: str) -> Row:
    return next(row for row in ROWS if row.name == name)


def test_fit_of_points_on_a_line() -> None:
    assert fit([1.0, 10.0, 100.0], [2.5, 7.0, 52.0]) == pytest.approx((2.0, 0.5))


@pytest.mark.parametrize(("seconds", "met"), [(1.8, "yes"), (1.9, "NO")])
def test_a_target_is_met_up_to_its_limit(seconds: float, met: str) -> None:
    cases = [case(OURS, seconds), case(DUCKDB, 2.0), case(STOCK, 10.0, scale=10)]
    text, _ = page([(row("counts"), cases)], 0.0, None, judged=True)
    assert f"| {met}" in next(line for line in text.splitlines() if "time / duckdb_sql" in line)
    assert "| yes" in next(line for line in text.splitlines() if "times faster than stock_beam" in line)


def test_parquet_is_judged_without_what_six_events_take() -> None:
    cases = {OURS: case(OURS, 2.5), DUCKDB: case(DUCKDB, 1.0), SMALL: case(SMALL, 1.0)}
    (target,) = row("parquet").targets
    assert target.measured(cases) == 1.5
    assert target.met(cases)


def test_a_scaled_case_is_marked() -> None:
    cases = [case(OURS, 2.0), case(STOCK, 10.0, events=100, scale=10)]
    text, _ = page([(row("counts"), cases)], 0.0, None, judged=False)
    line = next(line for line in text.splitlines() if STOCK in line)
    assert [cell.strip() for cell in line.split("|")[1:-1]] == [
        "counts",
        "100, time x 10",
        "stock_beam",
        "100.00 (97.50-105.00)",
        "3",
        "50.00",
        "200.00",
        "100",
    ]
    assert "## Targets" not in text


def test_growth_and_chart() -> None:
    sizes = (1_000_000, 10_000_000, 100_000_000)
    results = [(row("growth"), [case(OURS, 1 + size / 1e7, size), case(DUCKDB, size / 1e7, size)]) for size in sizes]
    text, svg = page(results, 0.0, Path("docs/benchmarks.svg"), judged=True)
    assert "1.00 s and 0.1000 s a million events; 100 MB and +0.00 MB a million events" in text
    assert "(benchmarks.svg)" in text
    root = ET.fromstring(svg)
    assert len(root.findall("{*}polyline")) == 2
    assert len(root.findall("{*}circle")) == 6


@pytest.mark.parametrize("form", ["odd", "some-odd"])
def test_odd_lines_are_the_same_events(tmp_path: Path, form: str) -> None:
    write(tmp_path / "odd", 5000, form)
    data = (tmp_path / "odd").read_bytes()
    batch = Block(data).decode()
    (wanted,) = batches(5000)
    assert not batch.rejected
    assert sorted(batch.timestamps.tolist()) == sorted(wanted.timestamp.tolist())
    plain = sum(line.startswith(b'{"id": "') and line.count(b":") == 3 for line in data.splitlines())
    assert (plain < 2500) if form == "odd" else (4900 < plain < 5000)
