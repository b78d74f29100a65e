"""Runs one program on one file as a whole process: what it took, and a digest of what it wrote.

This process imports nothing heavy: Linux counts a parent's memory at fork into its child's peak.
"""

import hashlib
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
OURS, PLAIN, SMALL = "this project", "this project, plain lines", "this project, six events"
IMPORT = "import apache_beam"
BYTES = "reading the bytes"
NO_REPORT = (IMPORT, BYTES)
DUCKDB, POLARS, PANDAS, STOCK = "duckdb_sql", "polars_lazy", "pandas_frame", "stock_beam"
RIVALS = (DUCKDB, POLARS, PANDAS, STOCK)


class BenchError(Exception):
    """A program failed, or its results are wrong."""


@dataclass(frozen=True)
class Usage:
    """What one process took."""

    seconds: float
    cpu_seconds: float  # of all its threads, and of child processes it waited for
    peak_bytes: int  # resident memory of its largest process


@dataclass
class Case:
    """One program doing one kind of work on one file, and its measurements.

    work: "counts" (the report), "ids" (also the list of unique ids) or "deduplicate" (the report of different events).
    scale: where the file is smaller than the row's, how many times; times are multiplied by it.
    """

    program: str
    work: str
    source: Path
    events: int
    scale: int = 1
    usages: list[Usage] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)

    @property
    def walls(self) -> list[float]:
        """Wall times in seconds, scaled."""
        return [usage.seconds * self.scale for usage in self.usages]

    @property
    def seconds(self) -> float:
        """Median wall time, scaled."""
        return statistics.median(self.walls)

    @property
    def cpu_seconds(self) -> float:
        """Median processor time, scaled."""
        return statistics.median(usage.cpu_seconds for usage in self.usages) * self.scale

    @property
    def peak_mb(self) -> float:
        """Median peak memory in MB, as measured."""
        return statistics.median(usage.peak_bytes for usage in self.usages) / 1e6

    def run(self, python: str, folder: Path) -> bytes:
        """Adds one run; returns the report. python: what runs this project. folder: for what is written."""
        report, ids = folder / "report.csv", folder / "ids.txt"
        for path in (report, ids):
            path.unlink(missing_ok=True)
        line = command(self, python, report, ids if self.work == "ids" else None)
        os.sync()  # what the program before left to be written to disk must not slow this one: 200 MB took up to 10 s
        self.usages.append(measure(line, folder / "log.txt"))
        if self.program in NO_REPORT:
            return b""
        content = report.read_bytes()
        self.digests.add(hashlib.sha256(content).hexdigest())
        if self.work == "ids":
            self.digests.add(f"{ids.stat().st_size} bytes of ids")
            if len(self.usages) == 1:
                self.digests.add(sorted_digest(ids))
        return content


def command(case: Case, python: str, report: Path, ids: Path | None) -> list[str]:
    """The command line that makes the report, and the list of unique ids where `ids` is given.

    Rivals run on this process's own interpreter.
    """
    if case.program == IMPORT:
        return [python, "-c", "import apache_beam"]
    if case.program == BYTES:
        return [sys.executable, str(PROJECT / "bench" / "reading.py"), str(case.source)]
    more = ["--deduplicate"] if case.work == "deduplicate" else []
    if case.program in (OURS, PLAIN, SMALL):
        line = [python, "-m", "pipeline", "--input", str(case.source), "--output", str(report), *more]
        return line + (["--ids_output", str(ids)] if ids else [])
    script = PROJECT / "bench" / "rivals" / f"{case.program}.py"
    return [sys.executable, str(script), str(case.source), str(report), *([str(ids)] if ids else more)]


def measure(line: list[str], log: Path) -> Usage:
    """Runs a command to its end; what it prints goes to `log`."""
    # Without byte code, an import of Beam takes twice as long.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            line, cwd=PROJECT, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = log.read_text(errors="replace")[-2000:]
        raise BenchError(f"status {process.returncode} from: {' '.join(line)}\n{tail}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Usage(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def resident(process: int | str) -> float:
    """MiB of resident memory."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


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
