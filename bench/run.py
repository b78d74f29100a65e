"""Measures this project and its rivals as whole processes, and checks that they give the same results.

    python -m bench.run --markdown docs/benchmarks.md            # all rows: 30 minutes, 16 GB of disk
    python -m bench.run --only counts ids --events 1000000

The programs of a row take turns (A B C, A B C, ...), so that a slow minute of the machine hits all of them.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.measuring import NO_REPORT, OURS, PLAIN, PROJECT, RIVALS, SMALL, STOCK, BenchError, Case
from bench.page import page
from bench.realistic import MIXES
from bench.rows import NAMES, ROWS, Row

BASE = 10_000_000  # events that the targets are set for
STOCK_EVENTS = 1_000_000  # more take stock Beam minutes: its time is scaled
WARM_UP_EVENTS = 20_000
SMALL_EVENTS = 6
SUFFIXES = {"array": "array.json", "mock": "mock.json"} | {
    form: f"{form}.jsonl" for form in ("odd", "some-odd", *MIXES)
}

EXAMPLE = """\
{"id": "c8e3-ace6-4852-a32f", "event": "video_25", "timestamp": 1617393003}
{"id": "af77-79b6-4fe6-8645", "event": "video_25", "timestamp": 1617400203}
{"id": "75c3-2a09-4ac6-a38a", "event": "video_25", "timestamp": 1617385803}
{"id": "a6dc-030b-4fb5-891d", "event": "video_50", "timestamp": 1617400203}
{"id": "9919-b79c-4897-b3e4", "event": "video_completed", "timestamp": 1617400203}
{"id": "d008-a738-45f3-a3fb", "event": "video_start", "timestamp": 1617385803}
"""
EXAMPLE_REPORT = b"""\
hour,impressions,video_start,video_25,video_50,video_75,video_completed,impressions_scaled
2021-04-02T18:00:00+01:00,0,1,1,0,0,0,0.0
2021-04-02T20:00:00+01:00,0,0,1,0,0,0,0.0
2021-04-02T22:00:00+01:00,0,0,1,1,0,1,0.0
"""


def data_file(options: argparse.Namespace, events: int, form: str) -> Path:
    """The file with so many events, made if missing, and read once so that it is in the page cache.

    More than --events are the file of --events again and again: enough where ids do not matter.
    """
    path: Path = options.data / f"events-{events}.{SUFFIXES.get(form, form)}"
    if not path.exists():
        if events > options.events:
            _repeat(data_file(options, options.events, form), events // options.events, path)
        else:
            line = [sys.executable, "-m", "bench.events", "--events", str(events)]
            subprocess.run([*line, "--format", form, "--output", str(path)], cwd=PROJECT, check=True)
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 20):
            pass
    return path


def _repeat(source: Path, times: int, target: Path) -> None:
    part = target.with_name(target.name + ".part")
    with part.open("wb") as out:
        for _ in range(times):
            with source.open("rb") as file:
                shutil.copyfileobj(file, out, 1 << 22)
    part.replace(target)


def cases_of(row: Row, options: argparse.Namespace) -> list[Case]:
    """The row's cases, their files made."""
    events = max(SMALL_EVENTS, options.events * row.percent // 100)
    source = data_file(options, events, row.form)
    cases = []
    for program in row.programs:
        if program in RIVALS and program not in options.rivals:
            continue
        if program == STOCK and events > STOCK_EVENTS:
            few = data_file(options, STOCK_EVENTS, row.form)
            cases.append(Case(program, row.work, few, STOCK_EVENTS, events // STOCK_EVENTS))
        else:
            count = SMALL_EVENTS if program == SMALL else events
            file = data_file(options, count, "jsonl") if program in (PLAIN, SMALL) else source
            cases.append(Case(program, row.work, file, count))
    return cases


def measure_row(row: Row, options: argparse.Namespace, folder: Path) -> list[Case]:
    """All programs of a row in turn; BenchError where their results differ."""
    cases = cases_of(row, options)
    for turn in range(options.runs):
        for case in cases:
            if turn < (options.slow_runs if case.program == STOCK else options.runs):
                case.run(options.python, folder)
                told = f"{row.name}, {case.events:,} events, {case.program}, run {turn + 1}"
                print(f"{told}: {case.usages[-1].seconds:.2f} s", file=sys.stderr, flush=True)
    _compare(row, cases, options, folder)
    return cases


def _compare(row: Row, cases: list[Case], options: argparse.Namespace, folder: Path) -> None:
    """Every program must have given what this project gives for as many events."""
    ours: dict[int, set[str]] = {}
    for case in cases:
        if case.program == OURS:
            ours[case.events] = case.digests
    for case in cases:
        if case.events not in ours and case.program not in NO_REPORT:
            reference = Case(OURS, row.work, case.source, case.events)
            reference.run(options.python, folder)
            ours[case.events] = reference.digests
        if case.program not in NO_REPORT and case.digests != ours[case.events]:
            raise BenchError(f"{row.name}: the results of {case.program} are not those of {OURS}")


def warm_up(options: argparse.Namespace, folder: Path) -> None:
    """Runs every program untimed: on the example, checking its report literally, and on a file that is large enough
    for all that is compiled or cached at first use.
    """
    example, larger = folder / "example.jsonl", data_file(options, WARM_UP_EVENTS, "jsonl")
    example.write_text(EXAMPLE, encoding="utf-8")
    for program in (OURS, *options.rivals):
        if Case(program, "ids", example, 6).run(options.python, folder) != EXAMPLE_REPORT:
            raise BenchError(f"{program}: a wrong report of the example events")
        Case(program, "ids", larger, WARM_UP_EVENTS).run(options.python, folder)


def measure_rows(options: argparse.Namespace, folder: Path) -> Iterator[tuple[Row, list[Case]]]:
    """The rows asked for with their cases; files that only one row needs are removed after it."""
    options.data.mkdir(parents=True, exist_ok=True)
    warm_up(options, folder)
    for row in ROWS:
        if row.name in options.only:
            cases = measure_row(row, options, folder)
            yield row, cases
            if row.form != "jsonl" or row.percent != 100:
                _remove({case.source for case in cases if row.form in str(case.source)}, options)
    _remove(set(options.data.glob("events-*")), options)


def _remove(paths: set[Path], options: argparse.Namespace) -> None:
    for path in paths:
        if not options.keep:
            path.unlink(missing_ok=True)


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description="Measures this project and its rivals.")
    parser.add_argument("--events", type=int, default=BASE, help="of the main rows; others are in proportion")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES), help="rows to measure")
    parser.add_argument("--runs", type=int, default=5, help="of each program (default 5)")
    parser.add_argument("--slow_runs", type=int, default=1, help="of stock Beam (default 1)")
    parser.add_argument("--data", type=Path, default=PROJECT / "build" / "bench", help="folder for the events")
    parser.add_argument("--keep", action="store_true", help="leave the events there for the next time")
    parser.add_argument("--rivals", nargs="*", choices=RIVALS, default=list(RIVALS))
    parser.add_argument("--python", default=sys.executable, help="what runs this project (default: what runs this)")
    parser.add_argument("--markdown", type=Path, help="file to write the results to, with a chart beside it")
    options = parser.parse_args(arguments)
    if min(options.runs, options.slow_runs) < 1 or options.events < 100:
        parser.error("--runs and --slow_runs are at least 1, --events at least 100")
    options.data = options.data.resolve()
    return options


def main() -> None:
    """Prints the results, and writes them where asked; status 1 when a program fails or results differ."""
    options = parsed()
    load = os.getloadavg()[0]
    options.data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.data) as folder:
        try:
            results = list(measure_rows(options, Path(folder)))
        except BenchError as error:
            sys.exit(f"bench: {error}")
    chart = options.markdown.with_suffix(".svg") if options.markdown else None
    text, svg = page(results, load, chart, judged=options.events == BASE)
    print(text, end="")
    if chart:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(text, encoding="utf-8")
        chart.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
