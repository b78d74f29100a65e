"""What a message of one event costs one core: python -m bench.messages [--messages N] [--markdown FILE]

Pub/Sub's messages, packed as its source gives them to a job, go through Beam's embedded engine: once through Beam's own
hand-over, once through this project's transforms. Microseconds of processor time, those of making the messages and of a
run of a tenth of them taken away, so that neither counts. Needs the extra gcp.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.io.gcp.pubsub import PubsubMessage, pubsub
from apache_beam.transforms.window import FixedWindows

from bench.events import batches, records
from bench.page import table
from pipeline.engine.runners import beam_options
from pipeline.model.hours import HOUR
from pipeline.model.ids import union
from pipeline.model.table import add_counts
from pipeline.stream import StreamJob
from pipeline.stream.decode import DecodeStream
from pipeline.stream.graph import hour_outputs
from pipeline.stream.topics import GroupMessages
from pipeline.stream.totals import HOUR_COUNTS, IDS

WINDOWS = beam.WindowInto(FixedWindows(HOUR))
HOURS, START = 3, 1617231600  # 2021-04-01T00:00:00+01:00
KEYS = 64

Step = Callable[[Any], Any]  # from packed messages on


class _Make(beam.DoFn):  # type: ignore[misc]
    """Messages of one event each, packed."""

    def __init__(self, count: int) -> None:
        self._count = count

    def process(self, _: bytes) -> Iterator[bytes]:
        kind, number = pubsub.types.PubsubMessage.pb(), 0
        for batch in batches(self._count):
            times = START + batch.timestamp % (HOURS * HOUR)
            for line in records(dataclasses.replace(batch, timestamp=times), "jsonl", "\n").splitlines():
                message = kind(data=line, message_id=f"{10**16 + number}")
                message.publish_time.FromSeconds(START + HOURS * HOUR)
                number += 1
                yield message.SerializeToString()


def _keyed(message: PubsubMessage) -> tuple[int, PubsubMessage]:
    return hash(message.message_id) % KEYS, message


def unpack(packed: Any) -> Any:
    """As ReadFromPubSub does it where attributes are wanted; an identity ParDo."""
    return packed | "Unpack" >> beam.Map(PubsubMessage._from_proto_str) | "Same" >> beam.Map(lambda message: message)


def shuffle(packed: Any) -> Any:
    """Unpacked by Beam, then a GroupByKey."""
    return unpack(packed) | "Key" >> beam.Map(_keyed) | "Shuffle" >> beam.GroupByKey()


def group(packed: Any) -> Any:
    """This project's blocks of messages."""
    return packed | "Group" >> beam.ParDo(GroupMessages())


def count_hours(packed: Any) -> Any:
    """Blocks decoded, and counted by hour and event."""
    sums = hour_outputs(group(packed), "Decode", DecodeStream(StreamJob("out", ids_output="ids")))
    _ = sums[HOUR_COUNTS] | "Hours of counts" >> WINDOWS | "Sum" >> beam.CombinePerKey(add_counts)
    return sums


def list_ids(packed: Any) -> Any:
    """And the unique ids of each hour."""
    return count_hours(packed)[IDS] | "Hours of ids" >> WINDOWS | "Union" >> beam.CombinePerKey(union)


STEPS: dict[str, Step] = {
    "Beam: unpacked as by ReadFromPubSub, one ParDo": unpack,
    "Beam: the same, and a GroupByKey": shuffle,
    "here: unpacked, in blocks": group,
    "here: decoded and counted": count_hours,
    "here: the same, and unique ids": list_ids,
}


def _seconds(step: Step | None, count: int) -> float:
    """Processor time of a run."""
    pipeline = beam.Pipeline(options=beam_options([]))
    packed = pipeline | "Once" >> beam.Impulse() | "Make" >> beam.ParDo(_Make(count)).with_output_types(bytes)
    if step:
        _ = step(packed)
    start = time.process_time()
    pipeline.run().wait_until_finish()
    return time.process_time() - start


def cost(step: Step | None, count: int) -> float:
    """Microseconds a message, what a run costs apart from its messages taken away."""
    few = count // 10
    return (_seconds(step, count) - _seconds(step, few)) / (count - few) * 1e6


def measure(count: int, runs: int) -> list[list[str]]:
    """Rows of the table: the median of runs in turn, each less the cost of making the messages in the same turn."""
    found: dict[str, list[float]] = {name: [] for name in STEPS}
    for step in STEPS.values():
        _seconds(step, 20_000)  # compiled code is loaded
    for _ in range(runs):
        source = cost(None, count)
        for name, step in STEPS.items():
            found[name].append(cost(step, count) - source)
    rows = [["one event a message", "us a message (min-max)"]]
    for name, costs in found.items():
        rows.append([name, f"{statistics.median(costs):.1f} ({min(costs):.1f}-{max(costs):.1f})"])
    return rows


def main() -> None:
    """Prints the table as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.messages", description="Measures a message of one event.")
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    text = "\n".join(table(measure(options.messages, options.runs)))
    print(text)
    if options.markdown:
        options.markdown.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
