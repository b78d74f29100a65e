"""This server and FastAPI with pandas, side by side in one run: python -m bench.http --rival_python PYTHON

Prints a Markdown table of medians and 99th percentiles. All answers are compared; a difference or a failed request ends
the run with status 1. This process imports nothing heavy, and its clients are threads: it costs both servers the same.
"""

import argparse
import http.client
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
EVENT_TYPES = ("impressions", "video_start", "video_25", "video_50", "video_75", "video_completed")
OURS, RIVAL = "this server", "FastAPI, pandas"


def make_body(events: int) -> bytes:
    """A JSON array of events in a week's hours."""
    return ("[" + ",\n".join(_event(k) for k in range(events)) + "]").encode()


def _event(k: int) -> str:
    kind, time_ = EVENT_TYPES[k * 7919 % 6], 1617000000 + k * 104729 % 604800
    return f'{{"id": "{k:08x}-ace6-4852-a32f", "event": "{kind}", "timestamp": {time_}}}'


@contextmanager
def serving(command: Sequence[str], port: int) -> Iterator[int]:
    """Runs a server; its process id. Ends when it answers, and stops it at last."""
    process = subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not _answers(port):
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit(f"does not start: {' '.join(command)}")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _answers(port: int) -> bool:
    try:
        return bool(_post(http.client.HTTPConnection("127.0.0.1", port), b"[]", any_status=True))
    except OSError:
        return False


def _post(connection: http.client.HTTPConnection, body: bytes, any_status: bool = False) -> bytes:
    connection.request("POST", "/", body)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200 and not any_status:
        raise SystemExit(f"a request failed: {answer.status} {content[:200]!r}")
    return content or b"?"


def measure(port: int, body: bytes, requests: int, clients: int) -> tuple[list[float], float, set[bytes]]:
    """Seconds of each request, requests a second, and the answers."""
    seconds: list[float] = []
    answers: set[bytes] = set()
    failed: list[BaseException] = []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            for _ in range(requests // clients):
                start = time.perf_counter()
                answers.add(_post(connection, body))
                seconds.append(time.perf_counter() - start)
        except (OSError, SystemExit) as error:
            failed.append(error)

    start = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise SystemExit(f"{len(failed)} clients failed: {failed[0]!r}")
    return seconds, len(seconds) / (time.perf_counter() - start), answers


def memory(process: int) -> int:
    """MiB that a process and its children take now, shared pages counted by their share."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    found = 0
    for number in (str(process), *children):
        lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
        found += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return found // 1024


def main() -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rival_python", required=True)
    parser.add_argument("--seconds", type=float, default=5, help="about what a cell of the table takes")
    parser.add_argument("--many", type=int, default=10_000, help="requests between the two measures of memory")
    arguments = parser.parse_args()
    rival = [arguments.rival_python, "-m", "uvicorn", "bench.rivals.fastapi_server:app", "--port", "8098"]
    rival += ["--timeout-worker-healthcheck", "60"]  # it kills workers that are busy for five seconds
    rival += ["--workers", str(len(os.sched_getaffinity(0))), "--log-level", "error"]
    with serving([sys.executable, "server.py", "--port", "8097"], 8097) as ours, serving(rival, 8098):
        time.sleep(3)  # both have loaded what they load late
        print(f"Load of the machine: {os.getloadavg()[0]:.1f}\n")
        print("| events | clients | server | p50 ms | p99 ms | requests/s |")
        print("|---|---|---|---|---|---|")
        for events, clients in ((6, 1), (6, 16), (10_000, 1), (10_000, 16), (1_000_000, 1), (1_000_000, 16)):
            _compare(events, clients, arguments.seconds)
        _watch_memory(ours, arguments.many)


def _compare(events: int, clients: int, seconds: float) -> None:
    body = make_body(events)
    reports = set()
    for name, port in ((OURS, 8097), (RIVAL, 8098)):
        once = statistics.median(measure(port, body, 3, 1)[0])
        requests = max(clients, min(2000, int(seconds / once)) // clients * clients)
        times, rate, answers = measure(port, body, requests, clients)
        reports |= answers
        times.sort()
        p50, p99 = statistics.median(times) * 1000, times[int(len(times) * 0.99)] * 1000
        print(f"| {events:,} | {clients} | {name} | {p50:.1f} | {p99:.1f} | {rate:.1f} |", flush=True)
    if len(reports) != 1:
        raise SystemExit("the reports differ")


def _watch_memory(process: int, many: int) -> None:
    body = make_body(6)
    measure(8097, body, 200, 8)
    before = memory(process)
    measure(8097, body, many, 8)
    print(f"\nMemory of this server's processes: {before} MiB, after {many:,} requests {memory(process)} MiB")


if __name__ == "__main__":
    main()
