"""CPU of an element through BatchEvents and HourlyRows, and through stock Beam, in one run.

python -m bench.elements
"""

import json
import resource
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam

from pipeline import BatchEvents, HourlyRows

EVENTS = 400_000
_KEYS = 10

Step = Callable[[Any], Any]


def _events(number: int, form: Step) -> Iterator[Any]:
    kinds = ("impressions", "video_25")
    events = [{"id": f"id-{k}-{number}", "event": kinds[k % 2], "timestamp": 1617393003 + k * 10} for k in range(1000)]
    elements = [form(event) for event in events]
    for _ in range(EVENTS // _KEYS // 1000):
        yield from elements


def _measure(form: Step, step: Step) -> float:
    """Microseconds an element."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    with beam.Pipeline("FnApiRunner") as pipeline:
        step(pipeline | beam.Create(range(_KEYS)) | beam.FlatMap(_events, form))
    after = resource.getrusage(resource.RUSAGE_SELF)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / EVENTS * 1e6


def _hour_and_event(event: dict[str, Any]) -> tuple[tuple[int, str], int]:
    return (event["timestamp"] // 3600, event["event"]), 1


def _stock(lines: Any) -> Any:
    return lines | beam.Map(json.loads) | beam.Map(_hour_and_event) | beam.CombinePerKey(sum)


def _rows(elements: Any) -> Any:
    return elements | BatchEvents() | HourlyRows()


def _as_bytes(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()


CASES: dict[str, tuple[Step, Step]] = {
    "source alone": (_as_bytes, lambda elements: elements),
    "stock Beam, bytes": (_as_bytes, _stock),
    "bytes": (_as_bytes, _rows),
    "str": (json.dumps, _rows),
    "dict": (dict, _rows),
    "beam.Row": (lambda event: beam.Row(**event), _rows),
}


def main() -> None:
    """Prints the median and the least of five rounds of each case."""
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(5):
        for name, case in CASES.items():
            times[name].append(_measure(*case))
    for name, found in times.items():
        print(f"{name:20} {statistics.median(found):.2f} us, least {min(found):.2f}")


if __name__ == "__main__":
    main()
