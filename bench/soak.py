"""A stream as its users run it, for as long as it is told: python -m bench.soak --prism PROGRAM --minutes 15

Default options; events of the last, this and the next hour; files that are deleted a while after they were reported.
A day of 2 million files within 85 minutes: --files 400 --rate 4000 --kept 30 --minutes 85 --early_firing_seconds=5
Each minute's delays, memory and processor time are noted, and printed as they come. At the end the reports must be what
was sent, to the byte, or the status is 1.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from bench.measuring import BenchError
from bench.page import header, table
from bench.stream import FILES_A_SECOND, PACKAGES, Sample, Stream, make_pool, percentile, streaming

KEPT_SECONDS = 120
PROGRAMS = ("python", "prism")
_PAGE_ROWS = 20  # at most; a longer soak shows each second, third ... minute
HEAD = ["minute", "files sent", "files there", "events sent", "delay p50 s", "p99 s"]
HEAD += [f"{name} {unit}" for name in PROGRAMS for unit in ("MiB", "CPU %")]


class Soak:
    """A stream whose inputs are deleted, and what was measured of it, a row a minute."""

    def __init__(self, stream: Stream, files: int, kept: float) -> None:
        """files: a second. kept: seconds for which a file stays after its events are reported."""
        self._stream, self._files, self._kept = stream, files, kept
        self._deleted, self._measured = 0, 1  # the first file was sent while the stream started
        self._time, self._cpu = time.perf_counter(), stream.cpu_seconds()
        self.rows = [HEAD]

    def minute(self, pool: list[Sample]) -> None:
        """Sends files for a minute, and adds its row."""
        for _ in range(6):
            self._stream.offer(pool, 10, self._files)
            self._delete()
        self._add_row()

    def _delete(self) -> None:
        stream, before = self._stream, time.perf_counter() - self._kept
        for number in range(self._deleted, len(stream.delays)):
            if stream.arrivals[number][0] + stream.delays[number] > before:
                break
            (stream.folder / "in" / f"{number}.jsonl").unlink()
            self._deleted += 1

    def _add_row(self) -> None:
        stream, now, cpu, memory = self._stream, time.perf_counter(), self._stream.cpu_seconds(), self._stream.memory()
        delays = sorted(stream.delays[self._measured :])
        shown = [f"{percentile(delays, percent):.2f}" for percent in (50, 99)] if delays else ["-", "-"]
        row = [str(len(self.rows)), f"{len(stream.arrivals):,}", str(len(stream.arrivals) - self._deleted)]
        row += [f"{stream.sent.total():,}", *shown]
        for name in PROGRAMS:
            share = (cpu[name] - self._cpu[name]) / (now - self._time) * 100
            row += [f"{memory[name]:.0f}", f"{share:.0f}"]
        self.rows.append(row)
        self._measured, self._time, self._cpu = len(stream.delays), now, cpu
        print("soak:", *row, file=sys.stderr, flush=True)


def soak(options: argparse.Namespace, folder: Path) -> list[str]:
    """The page."""
    load, start = os.getloadavg()[0], int(time.time()) // 3600 * 3600 - 3600
    pool = make_pool(folder / "pool", options.rate // options.files, start)
    with streaming(folder, options.prism, pool, *options.options, start=start) as stream:
        run = Soak(stream, options.files, options.kept)
        for _ in range(options.minutes):
            run.minute(pool)
        stream.drain()
        stopping = time.perf_counter()
        stream.stop()
    seconds, delays = time.perf_counter() - stopping, sorted(stream.delays[1:])
    p50, p99, most = percentile(delays, 50), percentile(delays, 99), delays[-1]
    step = -(-options.minutes // _PAGE_ROWS)
    return [
        *("# A stream that lasts", "", "Made by `make soak`; [how it is measured](../bench/README.md#a-stream).", ""),
        *header(load, PACKAGES),
        f"- {options.minutes} minutes at {options.rate:,} events/s, {options.files} files a second; options: "
        f"{' '.join(options.options) or 'the defaults'}; files deleted {options.kept:g} s after they were reported",
        "",
        f"{stream.sent.total():,} events in {len(stream.arrivals):,} files; the reports are what was sent, "
        f"to the byte. Delay p50 {p50:.2f} s, p99 {p99:.2f} s, at most {most:.2f} s. The stop took {seconds:.1f} s.",
        "",
        *table([run.rows[0], *run.rows[step::step]]),
    ]


def parsed() -> argparse.Namespace:
    """The command line; what it does not know goes to the stream."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="Runs a stream on Prism for long.")
    parser.add_argument("--prism", type=Path, required=True, help="Beam's local engine, a program")
    parser.add_argument("--minutes", type=int, default=15)
    parser.add_argument("--rate", type=int, default=50_000, help="events a second")
    parser.add_argument("--files", type=int, default=FILES_A_SECOND, help="files a second")
    parser.add_argument("--kept", type=float, default=KEPT_SECONDS, help="seconds from a file's report to its deletion")
    parser.add_argument("--markdown", type=Path, help="file to write the results to")
    options, rest = parser.parse_known_args()
    options.prism, options.options = options.prism.resolve(), rest
    return options


def main() -> None:
    """Prints the results, and writes them where asked; status 1 where reports are not what was sent."""
    options = parsed()
    with tempfile.TemporaryDirectory() as folder:
        try:
            page = "\n".join(soak(options, Path(folder))) + "\n"
        except BenchError as error:
            sys.exit(f"soak: {error}")
    print(page, end="")
    if options.markdown:
        options.markdown.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
