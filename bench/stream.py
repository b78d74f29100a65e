"""Measures a stream over a watched folder on Prism, as a user starts it: python -m bench.stream --prism PROGRAM

For each offered rate a stream is started, gets one file to warm up, and then so many files a second. Files are linked
into the folder under a new name, which appears at once as a renamed one does, and costs the machine next to nothing.
The reports are read all the while; at the end they must be what was sent, to the byte, or the status is 1.
"""

import argparse
import contextlib
import dataclasses
import datetime
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bench.events import EVENT_TYPES, batches, records
from bench.measuring import PROJECT, BenchError, resident
from bench.page import header, table
from bench.panes import panes
from bench.processes import children, process_group

RATES, FILES_A_SECOND = (50_000, 100_000, 200_000, 400_000), 20
IDS_RATES, IDS_FILES_A_SECOND = (1_000_000,), 200
HOURS, START = 3, 1617231600  # 2021-04-01T00:00:00+01:00
ZONE = datetime.timezone(datetime.timedelta(hours=1))
POOL = 20  # different files, which are sent again and again
PATIENCE = 120  # seconds without any new event in the reports
LOOK_SECONDS = 0.02
TICKS = os.sysconf("SC_CLK_TCK")
PACKAGES = ("apache-beam", "numba", "numpy")

Counts = Counter[tuple[int, int]]  # events by hour (0: the first) and event type


@dataclasses.dataclass(frozen=True)
class Load:
    """What is offered: events a second, in so many files a second; ids: whether they are written too."""

    rate: int
    files: int = FILES_A_SECOND
    ids: bool = False

    def __str__(self) -> str:
        return f"{self.rate:,}" + (f" in {self.files} files, with ids" if self.ids else "")


@dataclasses.dataclass(frozen=True)
class Sample:
    """A file to send, and what it holds."""

    path: Path
    counts: Counts


def make_pool(folder: Path, events: int, start: int = START) -> list[Sample]:
    """Different files of so many events each, of which the stream makes HOURS hours, the first at start."""
    folder.mkdir()
    return [_make_file(folder / f"{number}.jsonl", events, number, start) for number in range(POOL)]


def _make_file(path: Path, events: int, seed: int, start: int) -> Sample:
    counts = Counts()
    with path.open("wb") as file:
        for batch in batches(events, seed):
            since = batch.timestamp % np.uint64(HOURS * 3600)
            file.write(records(dataclasses.replace(batch, timestamp=since + np.uint64(start)), "jsonl", "\n"))
            counts.update(zip((since // np.uint64(3600)).tolist(), batch.event.tolist(), strict=True))
    return Sample(path, counts)


def reports_of(counts: Counts, start: int = START) -> dict[str, str]:
    """The files of reports that are right."""
    found = {}
    for hour in sorted({hour for hour, _ in counts}):
        numbers = [counts[hour, code] for code in range(len(EVENT_TYPES))]
        label = datetime.datetime.fromtimestamp(start + hour * 3600, ZONE).isoformat()
        cells = [label, *map(str, numbers), f"{numbers[0] // 10}.{numbers[0] % 10}"]
        head = ",".join(("hour", *EVENT_TYPES, "impressions_scaled"))
        found[f"{label[:13]}+0100.csv"] = f"{head}\n{','.join(cells)}\n"
    return found


@dataclasses.dataclass
class Stream:
    """A stream that runs: its process, what was sent to it, and when the reports held it."""

    process: subprocess.Popen[bytes]
    folder: Path
    start: int = START
    sent: Counts = dataclasses.field(default_factory=Counts)
    arrivals: list[tuple[float, int]] = dataclasses.field(default_factory=list)  # of files: time, events sent by then
    delays: list[float] = dataclasses.field(default_factory=list)
    different: dict[Path, int] = dataclasses.field(default_factory=dict)  # files, and the events of each
    peaks: dict[str, float] = dataclasses.field(default_factory=dict)

    def send(self, sample: Sample) -> None:
        """One more file."""
        os.link(sample.path, self.folder / "in" / f"{len(self.arrivals)}.jsonl")
        self.sent.update(sample.counts)
        self.different[sample.path] = sample.counts.total()
        self.arrivals.append((time.perf_counter(), self.sent.total()))

    def look(self) -> int:
        """Reads the reports: how many events they hold. Notes the delay of each file that they now hold."""
        held, now = 0, time.perf_counter()
        for path in (self.folder / "out").glob("*.csv"):
            held += sum(map(int, path.read_text().split("\n")[1].split(",")[1:-1]))
        while len(self.delays) < len(self.arrivals) and self.arrivals[len(self.delays)][1] <= held:
            self.delays.append(now - self.arrivals[len(self.delays)][0])
        return held

    def drain(self) -> float:
        """Waits until all that was sent is reported; the time. Raises BenchError where that does not come."""
        held, changed = 0, time.perf_counter()
        while held < self.sent.total():
            time.sleep(LOOK_SECONDS)
            if (now := self.look()) != held:
                held, changed = now, time.perf_counter()
            if self.process.poll() is not None or time.perf_counter() - changed > PATIENCE:
                log = (self.folder / "log").read_text(errors="replace")[-2000:]
                raise BenchError(f"the reports hold {held} of {self.sent.total()} events\n{log}")
        return changed

    def offer(self, pool: list[Sample], seconds: float, files: int = FILES_A_SECOND) -> None:
        """Sends files for so long, so many a second, each as soon as it is due."""
        start = time.perf_counter()
        for number in range(round(seconds * files)):
            while (wait := start + number / files - time.perf_counter()) > 0:
                time.sleep(min(wait, LOOK_SECONDS))
                self.look()
            self.send(pool[number % len(pool)])
            if number % files == 0:
                self.memory()

    def memory(self) -> dict[str, float]:
        """MiB of resident memory by program; keeps the peaks."""
        found = self._by_program(resident)
        self.peaks = {name: max(found.get(name, 0.0), self.peaks.get(name, 0.0)) for name in {*found, *self.peaks}}
        return found

    def cpu_seconds(self) -> dict[str, float]:
        """Processor time so far by program."""
        return self._by_program(_cpu_seconds)

    def _by_program(self, measure: Callable[[int], float]) -> dict[str, float]:
        found: dict[str, float] = {}
        for process in tree(self.process.pid):
            name = Path(f"/proc/{process}/comm").read_text().strip()
            found[name] = found.get(name, 0.0) + measure(process)
        return found

    def stop(self) -> None:
        """Stops it as a user does, and compares its reports. Raises BenchError where they are not what was sent."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE)
        found = {path.name: path.read_text() for path in (self.folder / "out").glob("*.csv")}
        wanted = reports_of(self.sent, self.start)
        if status or found != wanted:
            raise BenchError(f"status {status}, reports {found}, sent {wanted}")
        if (self.folder / "ids").exists():  # all of a file are different, and those of two files
            ids = sum(path.read_bytes().count(b"\n") for path in (self.folder / "ids").glob("*.txt"))
            if ids != sum(self.different.values()):
                raise BenchError(f"{ids} ids of {sum(self.different.values())}")


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def tree(process: int) -> list[int]:
    """A process and all that descend from it."""
    return [process, *(found for child in children(process) for found in tree(child))]


@contextlib.contextmanager
def streaming(folder: Path, prism: Path, pool: list[Sample], *options: str, start: int = START) -> Iterator[Stream]:
    """A stream that has reported its first file. options: beside inputs, outputs and engine."""
    (folder / "in").mkdir()
    line = [sys.executable, "-m", "pipeline", "--streaming", f"--input={folder}/in/*.jsonl", f"--output={folder}/out"]
    with (folder / "log").open("wb") as log:
        command = [*line, f"--prism_location={prism}", *options]
        with process_group(command, cwd=PROJECT, stderr=log) as process:
            stream = Stream(process, folder, start)
            stream.send(pool[0])
            stream.drain()
            yield stream


def percentile(values: list[float], percent: int) -> float:
    """Of values in ascending order."""
    return values[(len(values) - 1) * percent // 100]


def measure_load(load: Load, options: argparse.Namespace, folder: Path) -> list[str]:
    """A row of the table."""
    pool = make_pool(folder / "pool", load.rate // load.files)
    ids = [f"--ids_output={folder}/ids"] if load.ids else []
    with streaming(folder, options.prism, pool, "--early_firing_seconds=1", *ids) as stream:
        cpu, before, start = sum(stream.cpu_seconds().values()), stream.sent.total(), time.perf_counter()
        stream.offer(pool, options.seconds, load.files)
        seconds, events = stream.drain() - start, stream.sent.total() - before
        stream.memory()
        cpu = sum(stream.cpu_seconds().values()) - cpu
        stream.stop()
    delays = sorted(stream.delays[1:])
    p50, p99 = percentile(delays, 50), percentile(delays, 99)
    memory = ", ".join(f"{name} {mib:.0f}" for name, mib in sorted(stream.peaks.items()))
    figures = [
        f"{events:,}",
        f"{events / seconds:,.0f}",
        f"{p50:.2f}",
        f"{p99:.2f}",
        f"{cpu:.1f}",
        f"{cpu / events * 1e6:.1f}",
    ]
    return [str(load), *figures, memory]


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.stream", description="Measures a stream on Prism.")
    parser.add_argument("--prism", type=Path, required=True, help="Beam's local engine, a program")
    parser.add_argument("--rates", type=int, nargs="*", default=list(RATES), help="offered events a second")
    parser.add_argument("--ids_rates", type=int, nargs="*", default=list(IDS_RATES), help="the same, with ids")
    parser.add_argument("--seconds", type=float, default=20, help="of each rate")
    parser.add_argument("--markdown", type=Path, help="file to write the results to")
    options = parser.parse_args()
    options.prism = options.prism.resolve()
    return options


def measure(options: argparse.Namespace, folder: Path) -> list[str]:
    """The page."""
    before = os.getloadavg()[0]
    rows = [
        ["offered events/s", "events", "sustained/s", "delay p50 s", "p99 s", "CPU s", "CPU us an event", "peak MiB"]
    ]
    loads = [Load(rate) for rate in options.rates] + [
        Load(rate, IDS_FILES_A_SECOND, ids=True) for rate in options.ids_rates
    ]
    for number, load in enumerate(loads):
        (folder / str(number)).mkdir()
        rows.append(measure_load(load, options, folder / str(number)))
        print("rate:", *rows[-1], file=sys.stderr, flush=True)
    behind = panes(options.prism, folder / "panes")
    lines = [
        "# A stream's benchmark",
        "",
        "Made by `make bench-stream`; [how it is measured](../bench/README.md#a-stream).",
        "",
    ]
    how = f"- {options.seconds:g} s and one run of each rate; --early_firing_seconds 1"
    return [*lines, *header(before, PACKAGES), how, "", *table(rows), "", *behind]


def main() -> None:
    """Prints the results, and writes them where asked; status 1 where reports are not what was sent."""
    options = parsed()
    with tempfile.TemporaryDirectory() as folder:
        try:
            page = "\n".join(measure(options, Path(folder))) + "\n"
        except BenchError as error:
            sys.exit(f"bench: {error}")
    print(page, end="")
    if options.markdown:
        options.markdown.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
