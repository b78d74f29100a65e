"""The results as a page of Markdown: where it was measured, targets, all figures, growth, and a chart."""

import importlib.metadata
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

from bench.chart import Series, chart_svg
from bench.measuring import NO_REPORT, OURS, SMALL, Case
from bench.rows import Row

PACKAGES = ("apache-beam", "numba", "llvmlite", "numpy", "pyarrow", "duckdb", "polars", "pandas")
Results = list[tuple[Row, list[Case]]]


def page(results: Results, load: float, chart: Path | None, judged: bool) -> tuple[str, str]:
    """The page, and the chart as SVG. load: of the machine before. chart: where it will be. judged: show targets."""
    lines = ["# Benchmarks", "", "Made by `make bench`; [how it is measured](../bench/README.md).", ""]
    lines += header(load, PACKAGES)
    if judged:
        lines += ["", "## Targets", "", *_targets(results)]
    lines += ["", "## Figures", "", *_figures(results)]
    series = _series(results)
    lines += ["", "## Growth", "", *_growth(series.get(OURS, {}))]
    if chart:
        lines += ["", f"![Time against events, both axes logarithmic]({chart.name})"]
    found: list[Series] = [
        (name, [(events, case.seconds / case.scale) for events, case in sorted(cases.items())])
        for name, cases in series.items()
    ]
    return "\n".join(lines) + "\n", chart_svg(found)


def header(load: float, packages: Sequence[str]) -> list[str]:
    """Where, when and with what this was measured; load is the run queue's mean length over a minute, by the system."""
    loads = f"load before {load:.1f}, after {os.getloadavg()[0]:.1f}"
    return [
        f"- CPU: {cpu_model()}, {os.cpu_count()} cores; {platform.system()} {platform.release()}",
        f"- Python {platform.python_version()}, {', '.join(map(_version, packages))}",
        f"- {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC; {loads}",
    ]


def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package} missing"


def _targets(results: Results) -> list[str]:
    rows = [["row", "measure", "target", "measured", "met"]]
    for row, cases in results:
        by_program = {case.program: case for case in cases}
        for target in row.targets:
            bound = f"at {'least' if target.least else 'most'} {target.limit:g}"
            try:
                measured = f"{target.measured(by_program):.2f}"
                rows.append([row.name, target.text, bound, measured, "yes" if target.met(by_program) else "NO"])
            except KeyError:  # a rival that was not run
                rows.append([row.name, target.text, bound, "-", "-"])
    return table(rows)


def _figures(results: Results) -> list[str]:
    rows = [["row", "events", "program", "seconds (min-max)", "runs", "ratio", "CPU s", "peak MB"]]
    for row, cases in results:
        ours = next(case for case in cases if case.program in (OURS, SMALL))
        rows += [_figure(row, case, ours) for case in cases]
    return [*table(rows), "", "Ratio: to this project's time in the same row. Answers were compared and are equal."]


def _figure(row: Row, case: Case, ours: Case) -> list[str]:
    scaled = f", time x {case.scale}" if case.scale > 1 else ""
    return [
        row.name,
        f"{case.events:,}{scaled}",
        case.program,
        f"{case.seconds:.2f} ({min(case.walls):.2f}-{max(case.walls):.2f})",
        str(len(case.walls)),
        f"{case.seconds / ours.seconds:.2f}",
        f"{case.cpu_seconds:.2f}",
        f"{case.peak_mb:.0f}",
    ]


def _series(results: Results) -> dict[str, dict[int, Case]]:
    """For each program its cases of counting plain JSON Lines, by how many events."""
    found: dict[str, dict[int, Case]] = {}
    for row, cases in results:
        if row.work == "counts" and row.form == "jsonl" and row.percent:
            for case in cases:
                if case.program not in NO_REPORT:
                    found.setdefault(case.program, {})[case.events] = case
    return found


def _growth(ours: dict[int, Case]) -> list[str]:
    """This project's time and memory as lines fitted by least squares, and what is off them."""
    if len(ours) < 3:
        return ["Not measured in this run."]
    sizes = [events / 1e6 for events in sorted(ours)]
    seconds = [ours[events].seconds for events in sorted(ours)]
    peaks = [ours[events].peak_mb for events in sorted(ours)]
    base, slope = fit(sizes, seconds)
    memory, memory_slope = fit(sizes, peaks)
    rows = [["million events", "seconds", "line", "off the line", "peak MB"]]
    for size, second, peak in zip(sizes, seconds, peaks, strict=True):
        line = base + slope * size
        rows.append([f"{size:g}", f"{second:.2f}", f"{line:.2f}", f"{second - line:+.2f}", f"{peak:.0f}"])
    return [
        f"Counts, JSON Lines: {base:.2f} s and {slope:.4f} s a million events; {memory:.0f} MB and "
        f"{memory_slope:+.2f} MB a million events.",
        "",
        *table(rows),
    ]


def fit(xs: list[float], ys: list[float]) -> tuple[float, float]:
    """The line through points with the least squares: (value at 0, slope)."""
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / sum((x - x_mean) ** 2 for x in xs)
    return y_mean - slope * x_mean, slope


def table(rows: list[list[str]]) -> list[str]:
    """A Markdown table that also reads well in a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, cells, widths)) + " |" for cells in rows]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
