"""This server and FastAPI with pandas, side by side in one run: python -m bench.http --rival_python PYTHON

Prints Markdown: time to the first answer, medians and 99th percentiles, memory. All answers are compared; a difference
or a failed request ends the run with status 1. This process imports nothing heavy, and its clients are threads: it
costs both servers the same.
"""

import argparse
import http.client
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from bench.measuring import PROJECT, BenchError, resident
from bench.page import cpu_model
from bench.processes import children

EVENT_TYPES = ("impressions", "video_start", "video_25", "video_50", "video_75", "video_completed")
OURS, RIVAL = "this server", "the rival, FastAPI with pandas"
PACKAGES = {
    OURS: ("apache-beam", "bottle", "gunicorn", "numba", "numpy"),
    RIVAL: ("fastapi", "uvicorn", "uvloop", "pydantic", "pandas"),
}
EVENTS, CLIENTS = (6, 10_000, 1_000_000), (1, 16)
HEADING = """# The server's benchmark

Made by `make bench-http`: the server beside one of FastAPI, pydantic and pandas, in one run, answers compared. Ratios
are times by the rival's.
"""
TURNS = 3  # of each server in a cell of the table, so that a slow moment of the machine hits both
STARTS = 3
SOAK_CLIENTS, SOAK_STOPS = 8, (0.02, 0.1, 0.5, 1.0)  # memory is read after these parts of the requests
BAD_EVERY = 20  # of a soak's requests, one is answered 400


def make_body(events: int) -> bytes:
    """A JSON array of events in a week's hours."""
    return ("[" + ",\n".join(_event(k) for k in range(events)) + "]").encode()


def _event(k: int) -> str:
    kind, time_ = EVENT_TYPES[k * 7919 % 6], 1617000000 + k * 104729 % 604800
    return f'{{"id": "{k:08x}-ace6-4852-a32f", "event": "{kind}", "timestamp": {time_}}}'


@dataclass
class Server:
    """A server that runs: its port, its process id, the seconds from its start to its first answer."""

    name: str
    port: int
    process: int
    seconds: float

    def connect(self) -> http.client.HTTPConnection:
        """A connection that is not opened yet."""
        return http.client.HTTPConnection("127.0.0.1", self.port)

    def memory(self) -> tuple[float, float]:
        """MiB of resident memory: of the process that was started, and of its children together."""
        return resident(self.process), sum(map(resident, children(self.process)))


def commands(rival_python: str) -> dict[str, list[str]]:
    """How to start each server; a port follows."""
    rival = [rival_python, "-m", "uvicorn", "bench.rivals.fastapi_server:app", "--log-level", "error"]
    rival += ["--timeout-worker-healthcheck", "60"]  # it kills workers that are busy for five seconds
    rival += ["--workers", str(len(os.sched_getaffinity(0)))]
    return {OURS: [sys.executable, "server.py"], RIVAL: rival}


@contextmanager
def serving(name: str, command: Sequence[str]) -> Iterator[Server]:
    """Runs a server from its first answer on, and stops it at last."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    start = time.perf_counter()
    line = [*command, "--port", str(port)]
    process = subprocess.Popen(line, cwd=PROJECT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        server = Server(name, port, process.pid, 0)
        while not _answers(server):
            if time.perf_counter() - start > 120 or process.poll() is not None:
                raise BenchError(f"does not start: {' '.join(line)}")
            time.sleep(0.01)
        server.seconds = time.perf_counter() - start
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _answers(server: Server) -> bool:
    try:
        post(server.connect(), make_body(6))
    except OSError:
        return False
    return True


def post(connection: http.client.HTTPConnection, body: bytes, status: int = 200) -> bytes:
    """The answer to a request. Raises BenchError for another status."""
    connection.request("POST", "/", body)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != status:
        raise BenchError(f"a request failed: {answer.status} {content[:200]!r}")
    return content


def in_threads(clients: int, work: Callable[[], None]) -> float:
    """Runs work in so many threads; seconds. Raises what one of them raises."""
    failed: list[Exception] = []

    def client() -> None:
        try:
            work()
        except (OSError, http.client.HTTPException, BenchError) as error:
            failed.append(error)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise BenchError(f"{len(failed)} of {clients} clients failed: {failed[0]!r}")
    return time.perf_counter() - start


@dataclass
class Times:
    """What the requests of a cell took: seconds of each, seconds of all together, the answers."""

    requests: list[float] = field(default_factory=list)
    total: float = 0
    answers: set[bytes] = field(default_factory=set)

    def add(self, server: Server, body: bytes, clients: int, seconds: float) -> None:
        """Sends requests for about so many seconds, at least one a client."""

        def work() -> None:
            connection, end = server.connect(), time.perf_counter() + seconds
            while True:
                start = time.perf_counter()
                self.answers.add(post(connection, body))
                self.requests.append(time.perf_counter() - start)
                if time.perf_counter() > end:
                    return

        self.total += in_threads(clients, work)

    def percentile(self, percent: int) -> float:
        """Milliseconds that so many of a hundred requests stay below."""
        return sorted(self.requests)[(len(self.requests) - 1) * percent // 100] * 1000

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.requests) / self.total


def compare(servers: Sequence[Server], events: int, clients: int, seconds: float) -> list[Times]:
    """Both servers in turns with the same body. Raises BenchError where their reports differ."""
    body, found = make_body(events), [Times() for _ in servers]
    for server in servers:
        Times().add(server, body, clients, seconds / 10)  # what a server does at first
    for _ in range(TURNS):
        for server, times in zip(servers, found, strict=True):
            if times.total < seconds:  # large bodies need no other turn
                times.add(server, body, clients, seconds / TURNS)
    if len(set().union(*(times.answers for times in found))) != 1:
        raise BenchError("the reports differ")
    return found


def show_times(servers: Sequence[Server], sizes: Sequence[int], seconds: float) -> None:
    """Prints the table of times."""
    print("| events | clients | p50 ms | rival's | ratio | p99 ms | rival's | ratio | requests/s | rival's |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for events in sizes:
        for clients in CLIENTS:
            ours, rival = compare(servers, events, clients, seconds)
            cells = [f"{events:,}", str(clients)]
            for percent in (50, 99):
                a, b = ours.percentile(percent), rival.percentile(percent)
                cells += [f"{a:.1f}", f"{b:.1f}", f"{a / b:.2f}"]
            cells += [f"{ours.rate:.1f}", f"{rival.rate:.1f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


def show_memory(server: Server, requests: int) -> None:
    """Prints how a server's memory grows over small requests, of which some fail."""
    print(f"| requests of 6 events, one in {BAD_EVERY} bad | MiB: parent | workers |\n|---|---|---|")
    body, bad, done = make_body(6), b'[{"id": "a"}]', 0

    def work() -> None:
        connection = server.connect()
        for number in range((upto - done) // SOAK_CLIENTS):
            is_bad = number % BAD_EVERY == 0
            post(connection, bad if is_bad else body, 400 if is_bad else 200)

    for part in SOAK_STOPS:
        upto = int(requests * part)
        in_threads(SOAK_CLIENTS, work)
        done = upto
        parent, workers = server.memory()
        print(f"| {done:,} | {parent:.0f} | {workers:.0f} |", flush=True)


def show_starts(lines: dict[str, list[str]]) -> None:
    """Prints the seconds from the start of each server to its first answer."""
    for name, command in lines.items():
        seconds = []
        for _ in range(STARTS):
            with serving(name, command) as server:
                seconds.append(server.seconds)
        found = f"{statistics.median(seconds):.2f} s ({min(seconds):.2f}-{max(seconds):.2f})"
        print(f"- from start to first answer, {name}: {found}", flush=True)


def show_machine(rival_python: str) -> None:
    """Prints where and with what this is measured."""
    cores = len(os.sched_getaffinity(0))
    print(f"- CPU: {cpu_model()}, {cores} cores; {platform.system()} {platform.release()}")
    for name, python in ((OURS, sys.executable), (RIVAL, rival_python)):
        print(f"- {name}: {versions(python, PACKAGES[name])}")
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    print(f"- {when} UTC; load of the machine before: {os.getloadavg()[0]:.1f}", flush=True)


def versions(python: str, packages: Sequence[str]) -> str:
    """What an environment has."""
    code = (
        "import platform, sys, importlib.metadata as m\n"
        "print('Python', platform.python_version(), *(f', {p} {m.version(p)}' for p in sys.argv[1:]), sep='', end='')"
    )
    found = subprocess.run([python, "-c", code, *packages], capture_output=True, text=True, check=True)
    return found.stdout.replace("Python", "Python ", 1)


def main() -> None:
    """Measures, and prints Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.http", description="Measures the server and its rival.")
    parser.add_argument("--rival_python", required=True, help="of an environment with bench/http-requirements.txt")
    parser.add_argument("--events", type=int, nargs="+", default=list(EVENTS), help="of the bodies")
    parser.add_argument("--seconds", type=float, default=9, help="of requests to each server in a row of the table")
    parser.add_argument("--soak", type=int, default=10_000, metavar="REQUESTS", help="while memory is watched")
    parser.add_argument("--markdown", type=Path, default=Path(os.devnull), help="also written there")
    options = parser.parse_args()
    try:
        with options.markdown.open("w") as page, redirect_stdout(Both(sys.stdout, page)):  # type: ignore[type-var]
            measure(options)
    except BenchError as error:
        sys.exit(f"bench: {error}")


class Both:
    """Writes text to two streams."""

    def __init__(self, one: TextIO, other: TextIO) -> None:
        self._streams = one, other

    def write(self, text: str) -> None:
        for stream in self._streams:
            stream.write(text)

    def flush(self) -> None:
        for stream in self._streams:
            stream.flush()


def measure(options: argparse.Namespace) -> None:
    """Prints all tables."""
    lines = commands(options.rival_python)
    print(HEADING)
    show_machine(options.rival_python)
    show_starts(lines)
    with serving(OURS, lines[OURS]) as ours, serving(RIVAL, lines[RIVAL]) as rival:
        time.sleep(3)  # both have loaded what they load late
        print()
        show_times((ours, rival), options.events, options.seconds)
    with serving(OURS, lines[OURS]) as ours:
        print()
        show_memory(ours, options.soak)
    print(f"\nLoad of the machine after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
