"""Measures this project and its rivals as whole processes, and checks that they give the same results.

    python -m bench.run --events 1000000 10000000 --work counts ids --runs 3 --markdown build/bench/results.md

The programs take turns (A B C, A B C, ...), so that a slow minute of the machine hits all of them. This process
imports nothing heavy: Linux counts a parent's memory at fork into its child's peak.
"""

import argparse
import hashlib
import importlib.metadata
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
OURS = "this project"
RIVALS = ("duckdb_sql", "polars_lazy", "pandas_frame", "stock_beam")
SLOW = frozenset({"stock_beam"})  # programs that get --slow_runs ...
MANY = 5_000_000  # ... from so many events on
WARM_UP_EVENTS = 100_000
WORKS = ("counts", "ids")
PACKAGES = ("apache-beam", "numba", "numpy", "pyarrow", "duckdb", "polars", "pandas")

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


class BenchError(Exception):
    """A program failed, or gave wrong results before measuring began."""


@dataclass(frozen=True)
class Usage:
    """What one process took."""

    seconds: float
    cpu_seconds: float  # of all its threads, and of child processes it waited for
    peak_bytes: int  # resident memory of its largest process


@dataclass
class Case:
    """One program doing one kind of work on one file: its measurements, and a digest of what it wrote."""

    work: str
    events: int
    program: str
    usages: list[Usage] = field(default_factory=list)
    python: str = sys.executable
    digests: set[str] = field(default_factory=set)

    @property
    def seconds(self) -> float:
        """Median wall time."""
        return statistics.median(usage.seconds for usage in self.usages)


def command(program: str, python: str, source: Path, report: Path, ids: Path | None) -> list[str]:
    """The command line that makes the report, and the list of unique ids where `ids` is given.

    python: what runs this project; rivals run on this process's own interpreter.
    """
    if program == OURS:
        line = [python, "-m", "pipeline", "--input", str(source), "--output", str(report)]
        return line + (["--ids_output", str(ids)] if ids else [])
    script = PROJECT / "bench" / "rivals" / f"{program}.py"
    return [sys.executable, str(script), str(source), str(report), *([str(ids)] if ids else [])]


def measure(line: list[str], log: Path) -> Usage:
    """Runs a command to its end; what it prints goes to `log`."""
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(line, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = log.read_text(errors="replace")[-2000:]
        raise BenchError(f"status {process.returncode} from: {' '.join(line)}\n{tail}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Usage(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def sorted_digest(path: Path) -> str:
    """A digest of a file's lines whatever their order, repeated ones included; sorted outside this process."""
    order = {**os.environ, "LC_ALL": "C"}
    digest = hashlib.sha256()
    with subprocess.Popen(["sort", "-T", str(path.parent), str(path)], stdout=subprocess.PIPE, env=order) as sort:
        assert sort.stdout is not None
        while piece := sort.stdout.read(1 << 20):
            digest.update(piece)
    if sort.returncode:
        raise BenchError(f"cannot sort {path.name}")
    return digest.hexdigest()


def run_once(case: Case, source: Path, folder: Path) -> bytes:
    """Adds one run to the case; returns the report."""
    report, ids = folder / "report.csv", folder / "ids.txt"
    for path in (report, ids):
        path.unlink(missing_ok=True)
    wanted = ids if case.work == "ids" else None
    case.usages.append(measure(command(case.program, case.python, source, report, wanted), folder / "log.txt"))
    content = report.read_bytes()
    case.digests.add(hashlib.sha256(content).hexdigest() + (sorted_digest(ids) if wanted else ""))
    return content


def data_file(folder: Path, events: int) -> Path:
    """The JSON Lines file with so many events, made if missing, and read once so that it is in the page cache."""
    path = folder / f"events-{events}.jsonl"
    if not path.exists():
        line = [sys.executable, "-m", "bench.events", "--events", str(events), "--output", str(path)]
        subprocess.run(line, cwd=PROJECT, check=True)
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 20):
            pass
    return path


def equal(case: Case, ours: Case) -> bool:
    """Whether all runs of both gave one and the same result."""
    return len(case.digests) == 1 and case.digests == ours.digests


def warm_up(programs: list[str], options: argparse.Namespace, folder: Path) -> None:
    """Runs every program untimed: on the example, checking its report literally, and on a file that is large enough
    for all that is compiled or cached at first use.
    """
    example, larger = folder / "example.jsonl", data_file(options.data, WARM_UP_EVENTS)
    example.write_text(EXAMPLE, encoding="utf-8")
    cases = [Case("ids", WARM_UP_EVENTS, program, python=options.python) for program in programs]
    for case in cases:
        if run_once(Case("ids", 6, case.program, python=options.python), example, folder) != EXAMPLE_REPORT:
            raise BenchError(f"{case.program}: a wrong report of the example events")
        run_once(case, larger, folder)
        if not equal(case, cases[0]):
            raise BenchError(f"{case.program}: not the results of {cases[0].program} on {larger.name}")


def measure_all(work: str, events: int, options: argparse.Namespace, folder: Path) -> list[Case]:
    """All programs doing the same work on the same file, in turn."""
    source = data_file(options.data, events)
    cases = [Case(work, events, program, python=options.python) for program in (OURS, *options.rivals)]
    for turn in range(max(options.runs, options.slow_runs)):
        for case in cases:
            slow = case.program in SLOW and events >= MANY
            if turn < (options.slow_runs if slow else options.runs):
                run_once(case, source, folder)
                told = f"{work}, {events:,} events, {case.program}, run {turn + 1}: {case.usages[-1].seconds:.2f} s"
                print(told, file=sys.stderr, flush=True)
    return cases


def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def version(package: str) -> str:
    """`name version`, or that it is missing."""
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package} missing"


def header(load_before: float) -> list[str]:
    """Where and when this was measured; load is the run queue's mean length over a minute, by the system."""
    return [
        f"- CPU: {cpu_model()}, {os.cpu_count()} cores; {platform.system()} {platform.release()}",
        f"- Python {platform.python_version()}, {', '.join(map(version, PACKAGES))}",
        f"- {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC; load before {load_before:.1f},"
        f" after {os.getloadavg()[0]:.1f}",
    ]


def row(case: Case, ours: Case) -> list[str]:
    """One line of the table, as text."""
    walls = [usage.seconds for usage in case.usages]
    cpu = statistics.median(usage.cpu_seconds for usage in case.usages)
    peak = statistics.median(usage.peak_bytes for usage in case.usages)
    return [
        case.work,
        f"{case.events:,}",
        case.program,
        f"{case.seconds:.2f} ({min(walls):.2f}-{max(walls):.2f})",
        str(len(walls)),
        f"{case.seconds / ours.seconds:.2f}",
        f"{cpu:.2f}",
        f"{peak / 1e6:.0f}",
        "yes" if equal(case, ours) else "NO",
    ]


def table(groups: list[list[Case]]) -> list[str]:
    """The results as a Markdown table that also reads well in a terminal."""
    titles = ["work", "events", "program", "seconds (min-max)", "runs", "ratio", "CPU s", "peak MB", "equal"]
    rows = [titles, *(row(case, cases[0]) for cases in groups for case in cases)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, cells, widths)) + " |" for cells in rows]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description="Measures this project and its rivals.")
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--work", nargs="+", choices=WORKS, default=list(WORKS), help="ids: the report and unique ids")
    parser.add_argument("--runs", type=int, default=3, help="of each program (default 3)")
    parser.add_argument("--slow_runs", type=int, default=1, help=f"of {', '.join(SLOW)} from {MANY:,} events on")
    parser.add_argument("--data", type=Path, default=PROJECT / "build" / "bench", help="folder for the events")
    parser.add_argument("--rivals", nargs="*", choices=RIVALS, default=list(RIVALS))
    parser.add_argument("--python", default=sys.executable, help="what runs this project (default: what runs this)")
    parser.add_argument("--markdown", type=Path, help="file to write the results to")
    options = parser.parse_args(arguments)
    if min(options.runs, options.slow_runs, *options.events) < 1:
        parser.error("--events, --runs and --slow_runs are at least 1")
    options.data = options.data.resolve()
    return options


def run(options: argparse.Namespace) -> list[list[Case]]:
    """Measures everything asked for: for each kind of work and file, ours and then the rivals."""
    options.data.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=options.data))
    try:
        warm_up([OURS, *options.rivals], options, folder)
        return [measure_all(work, events, options, folder) for work in options.work for events in options.events]
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Prints the results, and writes them where asked; status 1 when a program fails or results differ."""
    options = parsed()
    load_before = os.getloadavg()[0]
    try:
        groups = run(options)
    except BenchError as error:
        sys.exit(f"bench: {error}")
    text = "\n".join([*header(load_before), "", *table(groups)]) + "\n"
    print(text, end="")
    if options.markdown:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(text, encoding="utf-8")
    if not all(equal(case, cases[0]) for cases in groups for case in cases):
        sys.exit("bench: the programs' results differ")


if __name__ == "__main__":
    main()
