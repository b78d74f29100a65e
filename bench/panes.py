"""Many small files of many old hours, with ids: how long after the last file reports and ids are whole."""

import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from bench.events import EVENT_TYPES
from bench.measuring import PROJECT, BenchError
from bench.processes import process_group

FILES, EVENTS_A_FILE, HOURS, START = 500, 100, 24, 1617231600
FILES_A_SECOND, EARLY_SECONDS = 50, 2
PATIENCE = 300  # seconds
LOOK_SECONDS = 0.05


def panes(prism: Path, folder: Path) -> list[str]:
    """The part of the page."""
    reports, ids, stop = measure(prism, folder)
    return [
        "Ids behind counts:",
        "",
        f"- {FILES} files of {EVENTS_A_FILE} events over {HOURS} hours of the past, {FILES_A_SECOND} files a second; "
        f"--early_firing_seconds {EARLY_SECONDS}",
        f"- after the last file the reports were whole in {reports:.1f} s, the ids in {ids:.1f} s; "
        f"the stop took {stop:.1f} s",
    ]


def measure(prism: Path, folder: Path) -> tuple[float, float, float]:
    """Seconds from the last file until the reports, and until the ids are whole; and those of the stop.

    Raises:
      BenchError: they never are.
    """
    files = [_lines(number) for number in range(FILES)]
    with _streaming(prism, folder) as process:
        start = time.perf_counter()
        for number, lines in enumerate(files):
            time.sleep(max(0.0, start + number / FILES_A_SECOND - time.perf_counter()))
            (folder / "in" / f".{number}").write_bytes(lines)
            (folder / "in" / f".{number}").rename(folder / "in" / f"{number}.jsonl")
        sent = time.perf_counter()
        reports, ids = _await_whole(process, folder, sent)
        stopping = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        if process.wait(PATIENCE):
            raise BenchError(f"status {process.returncode}")
        return reports - sent, ids - sent, time.perf_counter() - stopping


def _lines(number: int) -> bytes:
    random_ = random.Random(number)
    events = (
        {
            "id": f"{number}-{k}",
            "event": random_.choice(EVENT_TYPES),
            "timestamp": START + random_.randrange(HOURS * 3600),
        }
        for k in range(EVENTS_A_FILE)
    )
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def _await_whole(process: "subprocess.Popen[bytes]", folder: Path, sent: float) -> tuple[float, float]:
    found: dict[str, float] = {}
    while len(found) < 2:
        time.sleep(LOOK_SECONDS)
        held = {"reports": _reported(folder), "ids": _ids(folder)}
        found.update({name: time.perf_counter() for name in held.keys() - found if held[name] == FILES * EVENTS_A_FILE})
        if process.poll() is not None or time.perf_counter() > sent + PATIENCE:
            raise BenchError(f"{held} of {FILES * EVENTS_A_FILE}")
    return found["reports"], found["ids"]


def _reported(folder: Path) -> int:
    rows = (path.read_text().split("\n")[1] for path in (folder / "out").glob("*.csv"))
    return sum(int(cell) for row in rows for cell in row.split(",")[1:-1])


def _ids(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (folder / "ids").glob("*.txt"))


def _streaming(prism: Path, folder: Path) -> contextlib.AbstractContextManager["subprocess.Popen[bytes]"]:
    (folder / "in").mkdir(parents=True)
    paths = [f"--input={folder}/in/*.jsonl", f"--output={folder}/out", f"--ids_output={folder}/ids"]
    command = [sys.executable, "-m", "pipeline", "--streaming", *paths, f"--prism_location={prism}"]
    return process_group([*command, f"--early_firing_seconds={EARLY_SECONDS}"], cwd=PROJECT)
